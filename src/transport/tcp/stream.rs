//! Frames on a byte stream.
//!
//! Owns reading and writing in whole frames, with as few system calls as the load allows: a read
//! takes whatever has arrived, a write takes whatever is queued.
//!
//! In: any `AsyncRead` and `AsyncWrite`, so that an encrypted stream fits as well as a socket.
//! Out: frames, or [`Ended`], why there will be no more.
//!
//! Invariants
//! - [`FrameReader::fill`] can be dropped at any await without losing a byte.
//! - A write that makes no progress for [`STALL`] fails: a peer that does not read holds nothing.
//! - An idle stream holds little memory, whatever it carried before.
//!
//! Does not: know what frames mean.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    runtime::{AsyncRuntime, TokioRuntime},
    transport::wire::{self, Frame, FrameError},
};

/// How long the other side may take nothing of what is written to it.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// A batch is written once it is this long; a longer frame is a batch of its own.
pub(super) const BATCH_BYTES: usize = 1 << 18;

/// Least room offered to a read.
const READ_BYTES: usize = 1 << 13;

/// Why a stream carries no more frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("closed by the other side")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Because(&'static str),
}

/// Cuts what arrives into frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
    /// Longest frame accepted.
    pub(super) limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from, buffer: BytesMut::new(), limit }
    }

    /// The next frame if it has arrived already.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, Ended> {
        Ok(wire::read_frame(&mut self.buffer, self.limit)?)
    }

    /// Waits until more has arrived.
    pub(super) async fn fill(&mut self) -> Result<(), Ended> {
        self.buffer.reserve(READ_BYTES.min(self.limit));
        let count = self.from.read_buf(&mut self.buffer).await?;
        metrics::counter!("sixbells_peer_bytes_total", "direction" => "in").increment(count as u64);
        if count == 0 { Err(Ended::Closed) } else { Ok(()) }
    }

    /// Waits for the next frame.
    pub(super) async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

/// Writes a batch and empties it.
pub(super) async fn write_batch<W>(to: &mut W, batch: &mut Vec<u8>) -> Result<(), Ended>
where
    W: AsyncWrite + Unpin + Send,
{
    let mut rest = &batch[..];
    while !rest.is_empty() {
        let Ok(count) = TokioRuntime::timeout(STALL, to.write(rest)).await else {
            return Err(Ended::Because("the other side does not read"));
        };
        match count? {
            0 => return Err(Ended::Closed),
            count => rest = &rest[count..],
        }
    }
    to.flush().await?;
    let count = batch.len() as u64;
    metrics::counter!("sixbells_peer_bytes_total", "direction" => "out").increment(count);
    batch.clear();
    batch.shrink_to(BATCH_BYTES);
    Ok(())
}
