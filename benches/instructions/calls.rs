//! Scenarios of calls, without a node behind them: what a client does for one, and what the transport does.
//!
//! Invariant: whoever answers does next to nothing.
//!
//! Does not: carry anything out. Scenarios with whole nodes do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use sixbells::{
    Client, ClientConfig, Error, StartError,
    runtime::TokioRuntime,
    transport::{
        BoxFuture as Answer, CallError, Kind, Lane, Message, Peer, Service, Transport,
        tcp::{NodeOptions, TcpTransport},
    },
};
use sixbells_gauge::Values;
use tokio::runtime::Builder;

use crate::{
    measured,
    nodes::{AT_ONCE, KEYS, VALUE_BYTES, WRITES, value},
};

pub(crate) const CALLS: u64 = 6_400;

/// A leader that is always there, and answers at once: a session the first time, and then that it is done.
#[derive(Debug, Default)]
struct Obliging(AtomicBool);

impl Transport for Obliging {
    fn call<'a>(
        &'a self,
        _to: &'a Peer,
        _lane: Lane,
        request: Message,
        _timeout: Duration,
    ) -> Answer<'a, Result<Message, CallError>> {
        let body: &'static [u8] = match self.0.swap(true, Ordering::Relaxed) {
            false => &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            true => &[0; 16],
        };
        let reply = Message { kind: Kind::Reply, body: Bytes::from_static(body), ..request };
        Box::pin(std::future::ready(Ok(reply)))
    }

    fn listen(&self, _service: Arc<dyn Service>) -> Answer<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) {}
}

/// What a client does for a write before it is sent and after it was answered.
pub(crate) fn client() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (leader, config) = (Arc::new(Obliging::default()), ClientConfig::default());
    let client = Client::<Values>::with_transport::<TokioRuntime>(leader, ["leader"], config)?;
    runtime.block_on(client.write((0, value())))?;
    let mut answered = Ok(());
    measured(&mut || {
        answered = runtime.block_on(async {
            for n in 0..WRITES {
                client.write((n % KEYS, value())).await?;
            }
            Ok::<_, Error>(())
        });
    });
    Ok(answered?)
}

/// Answers with what was said.
struct Echo;

impl Service for Echo {
    fn shares(&self, _kind: Kind) -> bool {
        true
    }

    fn serve(&self, request: Message, _remaining: Duration) -> Answer<'static, Message> {
        Box::pin(std::future::ready(Message { kind: Kind::Reply, ..request }))
    }
}

/// Requests there and back, 64 at once on one connection, so that frames are most of it and not the sockets: two
/// frames written and two read for each.
pub(crate) fn frames() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = TcpTransport::node(NodeOptions {
        cluster: "sixbells".into(),
        node: 1,
        disk: 1,
        listen: "127.0.0.1:0".into(),
        connections_max: 10,
        client_frame_bytes_max: 1 << 20,
        routes: BTreeMap::new(),
    });
    runtime.block_on(server.listen(Arc::new(Echo)))?;
    let addr = server.local_addr().context("it does not listen")?.to_string();
    let peer = Peer { addr, node: Some(1), disk: Some(1) };
    let client = TcpTransport::client("sixbells".into());
    let request =
        Message { kind: Kind::Propose, request: 7, body: Bytes::from_static(&[7; VALUE_BYTES]) };
    let call = || client.call(&peer, Lane::Client, request.clone(), Duration::from_secs(60));
    runtime.block_on(call())?;
    let mut answered = Ok(());
    measured(&mut || {
        answered = runtime.block_on(async {
            for _ in 0..CALLS / AT_ONCE {
                try_join_all((0..AT_ONCE).map(|_| call())).await?;
            }
            Ok(())
        });
    });
    Ok(answered.map_err(|error: sixbells::transport::CallError| error)?)
}
