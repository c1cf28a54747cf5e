//! One gRPC connection: unary calls over HTTP/2, as many under way as one likes.
//!
//! Owns [`Channel`]. Invariants
//! - Calls share the connection and do not wait for each other.
//! - A connection that failed is made anew by the next call.
//! - A call ends within [`CALL_MAX`].
//!
//! Does not: retry, stream, encrypt, or compress.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

/// As long as the other system's client waits.
const CALL_MAX: Duration = Duration::from_secs(20);

/// A node that does not accept a connection for this long is not there.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Large enough that no answer waits for the window to be opened.
const WINDOW_BYTES: u32 = 8 << 20;

/// A flag and a length before each message.
const PREFIX_BYTES: usize = 5;

/// A connection to one address, made when it is needed. Clones share it.
#[derive(Clone)]
pub(crate) struct Channel {
    addr: String,
    sender: Arc<Mutex<Option<SendRequest<Bytes>>>>,
}

impl Channel {
    pub(crate) fn new(addr: String) -> Self {
        Self { addr, sender: Arc::default() }
    }

    /// Calls a method by its path, such as `/etcdserverpb.KV/Put`.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        path: &str,
        message: &impl Message,
    ) -> anyhow::Result<A> {
        let outcome = timeout(CALL_MAX, self.attempt(path, message)).await;
        match outcome.context("no answer within the deadline") {
            Ok(Ok(Answer::Message(answer))) => Ok(A::decode(answer)?),
            Ok(Ok(Answer::Refusal(status))) => anyhow::bail!("gRPC status {status}"),
            Ok(Err(error)) | Err(error) => {
                *self.sender.lock().await = None;
                Err(error)
            }
        }
    }

    async fn attempt(&self, path: &str, message: &impl Message) -> anyhow::Result<Answer> {
        let request = Request::post(format!("http://{}{path}", self.addr))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender().await?.ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(framed(message), true)?;
        let (head, body) = response.await?.into_parts();
        answer(&head.headers, body).await
    }

    async fn sender(&self) -> anyhow::Result<SendRequest<Bytes>> {
        let mut sender = self.sender.lock().await;
        if let Some(sender) = &*sender {
            return Ok(sender.clone());
        }
        let stream = timeout(CONNECT_MAX, TcpStream::connect(&self.addr)).await??;
        stream.set_nodelay(true)?;
        let (made, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await?;
        // It ends when the last sender is dropped. What breaks it, each call is told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender.insert(made).clone())
    }
}

enum Answer {
    Message(Bytes),
    /// The node answered that it will not: the connection is good.
    Refusal(String),
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // A request of this bench is far below 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

async fn answer(headers: &HeaderMap, mut body: RecvStream) -> anyhow::Result<Answer> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        whole.extend_from_slice(&chunk);
    }
    // An answer without a message has its status in the head.
    let trailers = body.trailers().await?.unwrap_or_default();
    let said = |name| trailers.get(name).or_else(|| headers.get(name));
    let status = said("grpc-status").context("an answer without a status")?.to_str()?;
    if status != "0" {
        let message = said("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or("");
        return Ok(Answer::Refusal(format!("{status}: {message}")));
    }
    anyhow::ensure!(whole.len() >= PREFIX_BYTES, "an answer of {} bytes", whole.len());
    whole.advance(PREFIX_BYTES);
    Ok(Answer::Message(whole.freeze()))
}
