//! Frames: what was written is read, and nothing else is.

use super::*;

fn all_kinds() -> Vec<Write> {
    vec![
        Write::Append(entries(1, 0..3)),
        Write::Append(Vec::new()),
        Write::Append(vec![Record { id: id(u64::MAX, 0), payload: Bytes::new() }]),
        Write::Vote(vote(1)),
        Write::Vote(vote(2)),
        Write::Committed(id(1, 2)),
        Write::Truncate(None),
        Write::Truncate(Some(id(0, 1))),
        Write::Purge(id(7, u64::MAX)),
    ]
}

#[test]
fn what_is_written_is_read_frame_by_frame() {
    let written = all_kinds();
    let bytes = frame::all(written.iter());
    let (mut read, mut at) = (Vec::new(), 0);
    while let Some((write, length)) = frame::read(&bytes[at..]) {
        read.push(write);
        at += length;
    }
    assert_eq!(read, written);
    assert_eq!(at, bytes.len());
}

#[test]
fn every_flipped_bit_is_refused() {
    for write in all_kinds() {
        // What follows is there to be taken for a part of it.
        let length = frame::all([&write].into_iter()).len();
        let bytes = frame::all([&write, &Write::Vote(vote(9))].into_iter());
        for bit in 0..length * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frame::read(&rotten), None, "bit {bit} of {write:?}");
        }
        assert_eq!(frame::read(&bytes), Some((write, length)));
    }
}

#[test]
fn every_cut_is_refused_with_and_without_zeros_behind_it() {
    for write in all_kinds() {
        let bytes = frame::all([&write].into_iter());
        for cut in 0..bytes.len() {
            assert_eq!(frame::read(&bytes[..cut]), None, "{cut} bytes of {write:?}");
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len() + 64, 0);
            // Where only zeros were cut off, zeros behind it make it whole.
            let whole = bytes[cut..].iter().all(|byte| *byte == 0);
            assert_eq!(frame::read(&zeros).is_some(), whole, "{cut} bytes of {write:?}");
        }
    }
    assert_eq!(frame::read(&[0; 64]), None, "a file that grew without its bytes");
}

#[test]
fn a_careless_reader_makes_entries_of_a_torn_frame() {
    let bytes = frame::all([&Write::Append(entries(1, 0..3))].into_iter());
    let guessed = frame::guess(&bytes[..bytes.len() - 1]);
    let Some(Write::Append(records)) = guessed else { panic!("{guessed:?}") };
    assert_eq!(records[..2], entries(1, 0..2));
    assert_eq!(records[2].id, id(1, 2));
    assert_ne!(records[2], entries(1, 2..3)[0], "a part of it is missing");
    for cut in 0..=bytes.len() {
        let torn = frame::guess(&bytes[..cut]);
        assert!(matches!(torn, None | Some(Write::Append(_))), "{cut} bytes: {torn:?}");
    }
}
