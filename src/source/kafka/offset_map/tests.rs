use super::{OffsetMap, OffsetMapError, read};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Written by the encoders of Parallel Consumer 0.5.3.3 itself, each for three patterns: a few open
/// offsets, one stuck with 59,999 done above it, and 691 open ones at random among 2,001.
const WRITTEN: &str = include_str!("parallel-consumer-0.5.3.3.txt");

#[test]
fn g5_each_encoding_of_parallel_consumer_says_the_same() {
    let mut seen = 0;
    for line in WRITTEN.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [pattern, encoding, metadata] = words[..] else {
            panic!("{line}");
        };
        let committed = match pattern {
            "few" => 100,
            "stuck" => 7,
            _ => 1_000,
        };
        let map = read(committed, metadata).unwrap_or_else(|e| panic!("{pattern} {encoding}: {e}"));
        match pattern {
            "few" => assert_eq!(
                (map.done_to, map.open),
                (Some(120), vec![100, 103, 104, 119]),
                "{encoding}"
            ),
            "stuck" => assert_eq!(
                (map.done_to, map.open),
                (Some(60_006), vec![7]),
                "{encoding}"
            ),
            _ => {
                let sum = { map.open.iter() }.fold(0_u64, |sum, offset| {
                    sum.wrapping_mul(31).wrapping_add(*offset)
                });
                let told = (map.done_to, map.open.len(), sum);
                assert_eq!(
                    told,
                    (Some(3_000), 691, 2_001_719_357_861_022_505),
                    "{encoding}"
                );
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 10 + 4 + 10);
}

fn written(magic: u8, data: &[u8]) -> String {
    STANDARD.encode([&[magic], data].concat())
}

#[test]
fn what_is_open_above_the_last_done_is_not_told_of() {
    // Two done, three open: those are read anyway.
    let map = read(10, &written(b'n', &[0, 0, 0, 2, 0, 3])).expect("a map");
    assert_eq!((map.done_to, map.open), (Some(11), Vec::new()));
    let map = read(10, &written(b'n', &[0, 3])).expect("a map");
    assert_eq!(map, OffsetMap::default());
    assert_eq!(read(10, ""), Ok(OffsetMap::default()));
}

#[test]
fn what_is_no_map_is_told_apart_from_a_damaged_one() {
    for metadata in [
        "checkpoint of 2026",
        "AQ==",
        &written(2, &[1]),
        &written(b'x', &[]),
    ] {
        let error = read(3, metadata).expect_err(metadata);
        assert!(
            matches!(error, OffsetMapError::Foreign(_)),
            "{metadata}: {error}"
        );
    }
    for (metadata, said) in [
        (written(b'l', &[0]), "within its length"),
        (written(b'l', &[0, 9, 255]), "9 offsets in 1 bytes"),
        (written(b'o', &[255, 255, 255, 255, 0]), "negative"),
        (written(b'n', &[0, 1, 2]), "within a length"),
        (written(b'e', &[127, 255, 255, 255]), "tells of"),
        (written(b'p', &[1, 2, 3]), "decompressed"),
        (written(b'L', &[0, 1, 2]), "a byte 2 for an offset"),
    ] {
        let error = read(3, &metadata).expect_err("damaged").to_string();
        assert!(error.contains("damaged") && error.contains(said), "{error}");
    }
    let beyond = read(u64::MAX - 1, &written(b'n', &[0, 0, 0, 9])).expect_err("beyond");
    assert!(beyond.to_string().contains("last offset"), "{beyond}");
}

#[test]
fn no_bytes_make_it_panic() {
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let magic = *random.choice(b"laosnJepL\xEE").expect("one");
        let data: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        if let Ok(map) = read(5, &written(magic, &data)) {
            let last = map.done_to.unwrap_or(4);
            assert!(map.open.iter().all(|open| *open < last), "seed {seed}");
        }
    }
}
