//! What a node does to those who do not behave: nothing but to close their connection.
//!
//! Owns the tests with garbage, long frames, too many connections, and callers that stall.
//!
//! Invariant: a random test prints its seed and how to run it again, for the seed alone decides what
//! is sent.

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use tokio::io::{AsyncReadExt, duplex};

use super::{stream::Ended, *};

/// The seed, and how to run the test with it again.
fn seeded(test: &str) -> SmallRng {
    let seed = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => TokioRuntime::random_below(u64::MAX),
    };
    println!("replay: SIXBELLS_SEED={seed} cargo test --lib {test}");
    SmallRng::seed_from_u64(seed)
}

/// Bytes nobody should send, made from bytes that are almost right.
fn garbage(rng: &mut SmallRng) -> Vec<u8> {
    let hello = Hello { cluster: "bells".into(), from: None, node: None, disk: None, lane: 3 };
    let hello = frame(0, wire::bare(Kind::Hello, codec::encode_tagged(&hello)));
    let mut bytes = match rng.random_range(0..5) {
        0 => Vec::new(),
        1 => hello[..rng.random_range(0..hello.len())].to_vec(),
        2 => [&hello[..], &frame(1, request("half"))[..20]].concat(),
        3 => {
            let mut flipped = [&hello[..], &frame(1, request("x"))].concat();
            let bit = rng.random_range(0..flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }
        _ => hello,
    };
    let mut noise = vec![0; rng.random_range(0..2_000)];
    rng.fill_bytes(&mut noise);
    bytes.extend(noise);
    bytes
}

/// A thousand connections full of garbage: none takes the node down, none is left, and a good client
/// is served all the while.
#[tokio::test]
async fn garbage_harms_nobody_else() {
    let mut rng = seeded("garbage_harms_nobody_else");
    let server = started(NodeOptions { connections_max: 10_000, ..options(1) }, echo()).await;
    let (good, to) = (client(), peer(&server));
    good.call(&to, Lane::Client, request("before"), LONG).await.unwrap();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        // The node may close while it is being written to; that is the point.
        drop(stream.write_all(&garbage(&mut rng)).await);
        drop(stream.shutdown().await);
        let reply = good.call(&to, Lane::Client, request("meanwhile"), LONG).await;
        assert_eq!(reply.unwrap().body, "meanwhile");
    }
    eventually("only the good one is left", || server.tasks.alive() == 2).await;
}

/// A length over the lane's limit ends the connection before the body is read, and a body at the
/// limit is served.
#[tokio::test]
async fn oversize_length() {
    let server = started(NodeOptions { client_frame_bytes_max: 100, ..options(1) }, echo()).await;
    let mut bare = Bare::dial(&server, None, Lane::Client).await;
    bare.send(1, request(vec![1; 100])).await;
    assert_eq!(bare.next().await.message.body.len(), 100);
    bare.writer.write_all(&frame(2, request(vec![1; 101]))[..10]).await.unwrap();
    bare.closed().await;
    let mut bare = Bare::dial(&server, Some(2), Lane::Control).await;
    bare.send(1, request(vec![1; 1_000])).await;
    assert_eq!(bare.next().await.message.body.len(), 1_000, "nodes are not limited like clients");
    bare.writer.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    bare.closed().await;
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    let before_hello = u32::try_from(HELLO_BYTES_MAX + 1).unwrap();
    stream.write_all(&before_hello.to_le_bytes()).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "a long hello is not waited for");
}

/// Over the limit a caller is told so; when a connection ends there is room again.
#[tokio::test]
async fn connection_limit() {
    let server = started(NodeOptions { connections_max: 2, ..options(1) }, echo()).await;
    let first = Bare::dial(&server, None, Lane::Client).await;
    let _second = Bare::dial(&server, None, Lane::Client).await;
    let (caller, to) = (client(), peer(&server));
    let reason = not_sent(caller.call(&to, Lane::Client, request("x"), LONG).await);
    assert_eq!(reason, "refused: node 1 has too many connections");
    drop(first);
    eventually_called(&caller, &to, Lane::Client).await;
}

/// A caller that sends and never reads: what is served stays bounded by its slots.
#[tokio::test]
async fn a_caller_that_does_not_read_is_held_up() {
    let begun = Arc::new(AtomicUsize::new(0));
    let service = {
        let begun = Arc::clone(&begun);
        Serve(move |request: Message, _| -> BoxFuture<'static, Message> {
            begun.fetch_add(1, SeqCst);
            Box::pin(ready(Message { body: vec![0; 1 << 16].into(), ..request }))
        })
    };
    let server = started(options(1), Arc::new(service)).await;
    let mut bare = Bare::dial(&server, None, Lane::Client).await;
    let sent = async {
        for call in 0.. {
            bare.send(call, request(vec![0; 1_000])).await;
        }
    };
    assert!(TokioRuntime::timeout(SECOND, sent).await.is_err(), "sending never stopped");
    let begun = begun.load(SeqCst);
    // Slots, and what fits into the sockets' buffers on loopback.
    assert!(begun < 2_000, "{begun} requests were served for somebody who reads nothing");
}

/// Such a caller is let go after a while, for it holds what its replies take.
#[tokio::test(start_paused = true)]
async fn a_write_without_progress_ends() {
    let (mut writer, reader): (DuplexStream, DuplexStream) = duplex(64);
    let mut batch = vec![0; 1_000];
    let ended = super::stream::write_batch(&mut writer, &mut batch).await.unwrap_err();
    assert!(matches!(ended, Ended::Because(reason) if reason.contains("does not read")));
    drop(reader);
}

/// Whoever connects and says nothing is not waited for longer than the handshake may take.
#[tokio::test(start_paused = true)]
async fn a_hello_has_a_deadline() {
    let (near, far) = duplex(1 << 12);
    let (read, mut write) = tokio::io::split(near);
    let mut reader = FrameReader::new(read, HELLO_BYTES_MAX);
    let identity = Identity { cluster: "bells".into(), node: 1, disk: 100 };
    let answer = handshake::answer(&mut reader, &mut write, &identity).await.unwrap_err();
    assert!(format!("{answer:?}").contains("no hello in time"), "{answer:?}");
    drop(far);
}
