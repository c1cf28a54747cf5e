//! A network door that remembers what was sent through it and may send some of it twice.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sixbells::{
    StartError,
    transport::{BoxFuture, CallError, Kind, Lane, Message, Peer, Service, Transport},
};

/// What passed the taps of a cluster. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Message>>>);

impl Record {
    pub(crate) fn of(&self, kind: Kind) -> Vec<Message> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|message| message.kind == kind).cloned().collect()
    }
}

#[derive(Debug)]
pub(crate) struct Tap {
    inner: Arc<dyn Transport>,
    record: Record,
    twice: Option<Kind>,
}

impl Tap {
    pub(crate) fn new(inner: Arc<dyn Transport>, record: &Record, twice: Option<Kind>) -> Self {
        Self { inner, record: record.clone(), twice }
    }
}

impl Transport for Tap {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        self.record.0.lock().unwrap().push(request.clone());
        Box::pin(async move {
            if self.twice != Some(request.kind) {
                return self.inner.call(to, lane, request, timeout).await;
            }
            // A session is opened twice then, and one of the two is never used.
            let opens_session = request.kind == Kind::Propose && request.body.get(1) == Some(&0);
            let first = self.inner.call(to, lane, request.clone(), timeout);
            let second = self.inner.call(to, lane, request, timeout);
            let (first, second) = futures_util::future::join(first, second).await;
            assert!(opens_session || first == second, "copies differ: {first:?}, {second:?}");
            second
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        self.inner.listen(service)
    }

    fn close(&self) {
        self.inner.close();
    }
}
