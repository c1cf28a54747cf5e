//! A TCP proxy for one directed link between two nodes, which can be cut.
//!
//! The link from a to b carries the connections that a dials to b, so a test gives each node the
//! address of a proxy for each peer. Cutting the link stops both directions of those connections,
//! but not the ones that b dials to a: that makes a one-way cut. In goes a target address and a
//! [`Mode`], both of which can be changed while connections are open; out come [`Counts`], by which
//! the nemesis proves that a cut held something back.
//!
//! Invariants:
//! - under [`Mode::Blackhole`] nothing gets through and nobody is told: connections are accepted and
//!   open ones stall. Bytes are not lost but held, as TCP would retransmit them, and delivered when
//!   the link heals, which may be long after their sender gave up;
//! - under [`Mode::Reset`] open and new connections end with a reset;
//! - at most [`CONNECTIONS_MAX`] connections are open, each holding one buffer a direction;
//! - dropping the proxy closes its port and all its connections.
//!
//! It cannot lose or reorder single packets, and a delay also slows a busy link down: a direction
//! forwards one buffer at a time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How many connections one link carries. A node dials few; more are refused.
pub const CONNECTIONS_MAX: usize = 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// How long the listener rests when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What happens to traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes.
    Pass,
    /// It disappears, as far as anybody can tell.
    Blackhole,
    /// Connections are reset.
    Reset,
    /// It passes this much later.
    Delay(Duration),
}

/// What a proxy did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes forwarded.
    pub passed_bytes: u64,
    /// Bytes held back by a blackhole, delivered later or never.
    pub held_bytes: u64,
    /// Connections dialled into a blackhole.
    pub held_connections: u64,
    /// Connections reset.
    pub reset_connections: u64,
    /// Bytes delayed.
    pub delayed_bytes: u64,
}

impl Counts {
    /// How many bytes and connections a fault touched: above zero, it was noticed.
    pub fn affected(&self) -> u64 {
        self.held_bytes + self.held_connections + self.reset_connections + self.delayed_bytes
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    counters: Arc<Counters>,
    listener: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    mode: Mode,
    target: SocketAddr,
}

#[derive(Debug, Default)]
struct Counters {
    passed_bytes: AtomicU64,
    held_bytes: AtomicU64,
    held_connections: AtomicU64,
    reset_connections: AtomicU64,
    delayed_bytes: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of the loopback interface and passes traffic to `target`.
    pub async fn listen(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (control, watched) = watch::channel(Control { mode: Mode::Pass, target });
        let counters = Arc::new(Counters::default());
        let listener = tokio::spawn(accept(listener, watched, Arc::clone(&counters)));
        Ok(Self { address, control, counters, listener })
    }

    /// The address to dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to traffic, on open connections too.
    pub fn set_mode(&self, mode: Mode) {
        self.control.send_modify(|control| control.mode = mode);
    }

    /// What happens to traffic.
    pub fn mode(&self) -> Mode {
        self.control.borrow().mode
    }

    /// Changes where new connections go, as when a node restarts on another port.
    pub fn set_target(&self, target: SocketAddr) {
        self.control.send_modify(|control| control.target = target);
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        let Counters {
            passed_bytes,
            held_bytes,
            held_connections,
            reset_connections,
            delayed_bytes,
        } = &*self.counters;
        Counts {
            passed_bytes: passed_bytes.load(Ordering::Relaxed),
            held_bytes: held_bytes.load(Ordering::Relaxed),
            held_connections: held_connections.load(Ordering::Relaxed),
            reset_connections: reset_connections.load(Ordering::Relaxed),
            delayed_bytes: delayed_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The listener owns the tasks of its connections, so this ends them too.
        self.listener.abort();
    }
}

async fn accept(listener: TcpListener, control: watch::Receiver<Control>, counters: Arc<Counters>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            let (control, counters) = (control.clone(), Arc::clone(&counters));
            connections.spawn(async move {
                // An error of one connection is what its two ends see: it is closed.
                let _closed = connection(client, control, &counters).await;
            });
        }
    }
}

async fn connection(
    mut client: TcpStream,
    mut control: watch::Receiver<Control>,
    counters: &Counters,
) -> io::Result<()> {
    if control.borrow_and_update().mode == Mode::Blackhole {
        counters.held_connections.fetch_add(1, Ordering::Relaxed);
        until(&mut control, |mode| mode != Mode::Blackhole).await;
    }
    let Control { mode, target } = *control.borrow_and_update();
    if mode == Mode::Reset {
        counters.reset_connections.fetch_add(1, Ordering::Relaxed);
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut watched = control.clone();
    let reset = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let there = pump(&mut from_client, &mut to_server, control.clone(), counters);
        let back = pump(&mut from_server, &mut to_client, control, counters);
        tokio::select! {
            both = async { tokio::try_join!(there, back) } => both.map(|_| false)?,
            () = until(&mut watched, |mode| mode == Mode::Reset) => true,
        }
    };
    if reset {
        counters.reset_connections.fetch_add(1, Ordering::Relaxed);
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Forwards one direction until its end.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut control: watch::Receiver<Control>,
    counters: &Counters,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        // Looked at after reading: what arrives during a cut is caught by it, and counted.
        let mode = control.borrow_and_update().mode;
        match mode {
            Mode::Pass | Mode::Reset => {}
            Mode::Blackhole => {
                counters.held_bytes.fetch_add(count as u64, Ordering::Relaxed);
                until(&mut control, |mode| mode != Mode::Blackhole).await;
            }
            Mode::Delay(delay) => {
                counters.delayed_bytes.fetch_add(count as u64, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
                // The link may have been cut meanwhile.
                until(&mut control, |mode| mode != Mode::Blackhole).await;
            }
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        counters.passed_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Waits for a mode. A proxy that is gone changes no more: its tasks are about to be aborted.
async fn until(control: &mut watch::Receiver<Control>, wanted: impl Fn(Mode) -> bool) {
    if control.wait_for(|control| wanted(control.mode)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn answer(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn a_cut_link_stalls_and_delivers_once_it_heals() {
        let proxy = Proxy::listen(echo().await).await.unwrap();
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut open, b"before").await.unwrap(), b"before");
        assert_eq!(proxy.counts().affected(), 0);

        proxy.set_mode(Mode::Blackhole);
        let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(timeout(A_WHILE, answer(&mut open, b"during")).await.is_err());
        assert!(timeout(A_WHILE, answer(&mut fresh, b"during")).await.is_err());
        let counts = proxy.counts();
        assert_eq!((counts.held_bytes, counts.held_connections), (6, 1));

        proxy.set_mode(Mode::Pass);
        for stream in [&mut open, &mut fresh] {
            let mut late = [0; 6];
            timeout(SOON, stream.read_exact(&mut late)).await.unwrap().unwrap();
            assert_eq!(&late, b"during");
        }
    }

    #[tokio::test]
    async fn a_reset_link_ends_open_and_new_connections() {
        let proxy = Proxy::listen(echo().await).await.unwrap();
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        answer(&mut open, b"before").await.unwrap();
        proxy.set_mode(Mode::Reset);
        let mut byte = [0];
        let end = timeout(SOON, open.read(&mut byte)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        if let Ok(mut fresh) = TcpStream::connect(proxy.address()).await {
            assert!(timeout(SOON, answer(&mut fresh, b"x")).await.unwrap().is_err());
        }
        assert_eq!(proxy.counts().reset_connections, 2);
    }

    #[tokio::test]
    async fn a_slow_link_delays_both_ways() {
        let proxy = Proxy::listen(echo().await).await.unwrap();
        proxy.set_mode(Mode::Delay(Duration::from_millis(40)));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let start = Instant::now();
        answer(&mut stream, b"ping").await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(80));
        assert_eq!(proxy.counts().delayed_bytes, 8);
    }

    #[tokio::test]
    async fn new_connections_go_to_a_new_target_and_a_dropped_proxy_is_gone() {
        let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::listen(nowhere.local_addr().unwrap()).await.unwrap();
        proxy.set_target(echo().await);
        let address = proxy.address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(answer(&mut stream, b"here").await.unwrap(), b"here");
        drop(proxy);
        let mut byte = [0];
        let end = timeout(SOON, stream.read(&mut byte)).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)));
    }
}
