//! The seeds and committed inputs of the fuzz targets, replayed without a fuzzer.

mod seeds;

use std::fs;

use crate::world::root;

#[path = "../../fuzz/invariants.rs"]
mod invariants;
#[path = "../../fuzz/uploads.rs"]
mod uploads;

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

/// Every seed, cut off and with single bits changed, and every committed input.
fn sow(target: &str, seeds: Vec<seeds::Seed>, holds: fn(&[u8])) {
    for (_, seed) in seeds {
        holds(&seed);
        for at in (0..seed.len()).step_by(seed.len() / 16 + 1) {
            holds(&seed[..at]);
            let mut changed = seed.clone();
            changed[at] ^= 1 << (at % 8);
            holds(&changed);
        }
    }
    replay(target, holds);
}

#[test]
#[ignore = "writes files: where fuzzing begins, once more"]
fn the_seeds_are_put_among_the_committed_inputs() {
    let sown = [("pixels", seeds::pixels()), ("header", seeds::header()), ("body", seeds::body())];
    for (target, seeds) in sown {
        let folder = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

#[test]
fn no_image_breaks_what_decodes_measures_and_shows_it() {
    sow("pixels", seeds::pixels(), uploads::pixels);
}

#[test]
fn no_header_is_believed_too_much() {
    sow("header", seeds::header(), uploads::header);
}

#[test]
fn every_body_is_read_the_same_in_pieces() {
    sow("body", seeds::body(), uploads::body);
}
