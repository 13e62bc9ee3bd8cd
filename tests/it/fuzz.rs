//! The committed inputs of the fuzz targets, replayed without a fuzzer.

use std::fs;

use crate::world::root;

#[path = "../../fuzz/invariants.rs"]
mod invariants;

fn replay(target: &str, holds: fn(&[u8])) {
    let inputs = fs::read_dir(root().join("fuzz/corpus").join(target)).unwrap();
    let mut replayed = 0;
    for input in inputs {
        holds(&fs::read(input.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(10 <= replayed, "{replayed} inputs for {target}");
}

#[test]
fn every_committed_stream_reads_the_same_in_pieces() {
    replay("sse", invariants::sse);
}

#[test]
fn no_committed_answer_is_scanned_otherwise_than_it_is_read() {
    replay("scan", invariants::scan);
}
