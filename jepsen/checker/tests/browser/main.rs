//! The page in a real browser: opened, clicked through, and read.
//!
//! What no parser of HTML could tell: that something is drawn, that nothing fails or is requested,
//! that each thing can be done with the mouse and without it, that a long history stays quick, and
//! that hostile text stays text. Without a browser on the machine the stories are skipped, which they
//! say; everything else about the page is tested beside it.
//!
//! - `chromium` drives the browser;
//! - `scenes` are the histories that are shown;
//! - `stories` are the tests.

#[cfg(test)]
mod chromium;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod stories;
