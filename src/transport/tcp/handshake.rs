//! The first two frames of a connection: who calls, whom, and is it the right one?
//!
//! Owns both sides. The caller sends `Hello` and waits for `Welcome`; the node that was called checks
//! every id in the `Hello` against its own and answers `Welcome`, or `Refused` with a reason made
//! for people. Addresses are reused and disks are replaced, so an address alone proves nothing.
//!
//! Invariants
//! - No request is sent before a `Welcome` with the ids that were meant has arrived.
//! - A node with another disk than meant is not called: it may have forgotten what it promised.
//! - Both sides are bounded in time and in bytes.
//!
//! Does not: authenticate. Whoever can connect can claim any id.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::{self, Ended, FrameReader};
use crate::{
    codec,
    runtime::{AsyncRuntime, TokioRuntime},
    transport::{
        Kind, Lane, Peer,
        wire::{self, Frame, Hello, Welcome},
    },
};

/// How long a node waits for the `Hello` of whoever connected.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// How long a caller waits for the answer; less, so that the caller's next attempt comes soon.
const WELCOME_WAIT: Duration = Duration::from_secs(2);

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: String,
    pub(super) node: u64,
    pub(super) disk: u64,
}

/// Why a caller was not let in.
#[derive(Debug)]
pub(super) enum Rejected {
    /// It did not speak the protocol.
    Garbage(Ended),
    /// It meant somebody else, and was told so.
    Refused(String),
}

/// The caller's side. `Err` is the reason, for people.
pub(super) async fn call<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    hello: &Hello,
    to: &Peer,
) -> Result<(), String>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let exchange = async {
        send(writer, Kind::Hello, tagged(hello)).await?;
        reader.next().await
    };
    let answer = match TokioRuntime::timeout(WELCOME_WAIT, exchange).await {
        Ok(Ok(frame)) => frame.message,
        Ok(Err(ended)) => return Err(format!("handshake: {ended}")),
        Err(_) => return Err(format!("no answer to the handshake within {WELCOME_WAIT:?}")),
    };
    if answer.kind == Kind::Refused {
        return Err(format!("refused: {}", printable(&answer.body)));
    }
    if answer.kind != Kind::Welcome {
        return Err(format!("handshake: answered with {:?}", answer.kind));
    }
    let found: Welcome =
        codec::decode_tagged(&answer.body).map_err(|e| format!("handshake: {e}"))?;
    match mismatch(
        &Identity { cluster: hello.cluster.clone(), node: found.node, disk: found.disk },
        hello,
    ) {
        Some(reason) => Err(format!("{to} answered, but {reason}")),
        None => Ok(()),
    }
}

/// The called node's side: who calls and on which lane.
pub(super) async fn answer<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    identity: &Identity,
) -> Result<(Option<u64>, Lane), Rejected>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let first = TokioRuntime::timeout(HELLO_WAIT, reader.next()).await;
    let frame = match first {
        Ok(frame) => frame.map_err(Rejected::Garbage)?,
        Err(_) => return Err(Rejected::Garbage(Ended::Because("no hello in time"))),
    };
    if frame.message.kind != Kind::Hello {
        return Err(Rejected::Garbage(Ended::Because("the first frame is not a hello")));
    }
    let refusal = match codec::decode_tagged::<Hello>(&frame.message.body) {
        Err(e) => format!("the hello is not readable: {e}"),
        Ok(hello) => match (mismatch(identity, &hello), Lane::from_byte(hello.lane)) {
            (Some(reason), _) => reason,
            (None, None) => format!("there is no lane {}", hello.lane),
            (None, Some(lane)) => {
                let welcome = Welcome { node: identity.node, disk: identity.disk };
                let sent = send(writer, Kind::Welcome, tagged(&welcome)).await;
                return sent.map(|()| (hello.from, lane)).map_err(Rejected::Garbage);
            }
        },
    };
    refuse(writer, &refusal).await;
    Err(Rejected::Refused(refusal))
}

/// Tells the other side why it is not let in, if it still listens.
pub(super) async fn refuse<W: AsyncWrite + Unpin + Send>(writer: &mut W, reason: &str) {
    let body = Bytes::copy_from_slice(reason.as_bytes());
    if let Err(ended) = send(writer, Kind::Refused, body).await {
        tracing::debug!(%ended, "a refusal could not be delivered");
    }
}

/// Why `hello` is not meant for the node `found`; `None` if it is.
fn mismatch(found: &Identity, hello: &Hello) -> Option<String> {
    let Identity { cluster, node, disk } = found;
    if *cluster != hello.cluster {
        return Some(format!("this is cluster {cluster:?}, not {:?}", hello.cluster));
    }
    if let Some(meant) = hello.node
        && meant != *node
    {
        return Some(format!("this is node {node}, not node {meant}"));
    }
    if let Some(meant) = hello.disk
        && meant != *disk
    {
        return Some(format!(
            "node {node} has another disk than the membership says: its data was lost; replace it \
             under a new id (disk {disk:016x}, the membership says {meant:016x})"
        ));
    }
    None
}

fn tagged<T: Serialize>(value: &T) -> Bytes {
    codec::encode_tagged(value).into()
}

async fn send<W>(writer: &mut W, kind: Kind, body: Bytes) -> Result<(), Ended>
where
    W: AsyncWrite + Unpin + Send,
{
    let frame = Frame { call: 0, remaining: Duration::ZERO, message: wire::bare(kind, body) };
    let mut batch = Vec::new();
    wire::write_frame(&frame, &mut batch);
    stream::write_batch(writer, &mut batch).await
}

/// A text of the other side, made harmless for logs; the handshake's limit bounds its length.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect()
}
