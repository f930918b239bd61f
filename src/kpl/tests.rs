use super::*;

/// Vectors made by another encoder (varints and fields written out by hand, MD5 by another library):
/// two keys, an explicit hash key, an empty payload.
const THREE: &str = "f3899ac20a05616c6963650a03626f62120a313233343536373839301a0608001a0261311a08080110001a0262311a0408001a00848d0c03ecda091dd12af87ef390a62a";
/// A record with a tag, and a field 9 of the message.
const TAGS: &str = "f3899ac20a05616c6963651a0e08001a02613122060a016b1201764a056c61746572adeed74b7e9f75f14b4a6d082265b263";
/// `THREE` as the only record.
const NESTED: &str = "f3899ac20a05616c6963651a4808001a44f3899ac20a05616c6963650a03626f62120a313233343536373839301a0608001a0261311a08080110001a0262311a0408001a00848d0c03ecda091dd12af87ef390a62af896422b08a85788377f4987f8348b8c";
/// Five records `r0` to `r4` of `alice`.
pub(crate) const FIVE: &str = "f3899ac20a05616c6963651a0608001a0272301a0608001a0272311a0608001a0272321a0608001a0272331a0608001a02723411b99c240c79e615719d4f39d1182f28";
/// The second record points behind the only key.
pub(crate) const INDEX: &str =
    "f3899ac20a05616c6963651a0608001a0261311a0608011a026132c3bb0f03debeae0c2b4d8c1f97255d39";

pub(crate) fn bytes(hex: &str) -> Bytes {
    let digits = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn unsound(hex: &str) -> Unsound {
    decode(&bytes(hex)).expect_err("no aggregate")
}

/// Key, explicit hash key and payload of each record.
type Parts = Vec<(Vec<u8>, Option<Vec<u8>>, Vec<u8>)>;

fn parts(aggregate: &Aggregate) -> Parts {
    let records = aggregate.records();
    let parts = records.map(|record| {
        assert_eq!(aggregate.keys()[record.key_index], record.key);
        let explicit = record.explicit_hash_key.map(|key| key.to_vec());
        (record.key.to_vec(), explicit, record.data.to_vec())
    });
    parts.collect()
}

fn text(parts: &Parts) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let each = parts.iter().map(|(key, explicit, data)| {
        let explicit = explicit
            .as_deref()
            .map_or(String::new(), |key| format!("#{}", text(key)));
        format!("{}{explicit}={}", text(key), text(data))
    });
    each.collect::<Vec<_>>().join(" ")
}

fn decoded(hex: &str) -> Aggregate {
    decode(&bytes(hex)).expect("sound").expect("an aggregate")
}

#[test]
fn sound_aggregates_come_apart() {
    let three = decoded(THREE);
    assert_eq!(text(&parts(&three)), "alice=a1 bob#1234567890=b1 alice=");
    assert_eq!(text(&parts(&decoded(TAGS))), "alice=a1");
    let five = parts(&decoded(FIVE));
    assert_eq!(text(&five), "alice=r0 alice=r1 alice=r2 alice=r3 alice=r4");
}

#[test]
fn an_aggregate_within_one_is_a_record() {
    let nested = parts(&decoded(NESTED));
    assert_eq!(nested.len(), 1);
    assert_eq!(nested[0].2, bytes(THREE));
}

#[test]
fn what_has_not_the_first_four_bytes_is_plain() {
    for plain in [
        &b""[..],
        b"\xf3\x89\x9a",
        b"{}",
        b"\xf3\x89\x9a\xc3 and so on, and so on",
    ] {
        assert_eq!(decode(&Bytes::copy_from_slice(plain)), Ok(None));
    }
}

#[test]
fn what_begins_like_one_and_is_none_is_named() {
    assert_eq!(unsound("f3899ac2"), Unsound::Short { bytes: 4 });
    // The empty message, with the MD5 of nothing.
    let empty = "f3899ac2d41d8cd98f00b204e9800998ecf8427e";
    assert_eq!(unsound(empty), Unsound::Short { bytes: 20 });
    let other = THREE.replace("f390a62a", "f390a62b");
    assert_eq!(unsound(&other), Unsound::Checksum);
    // A key, and no record.
    let keys_only = "f3899ac20a05616c6963654351bf8bfe9ad7a2185d54442b2753b2";
    assert_eq!(unsound(keys_only), Unsound::Empty);
    let garbage = unsound("f3899ac20a7f787817e3697ae8ced896b934b3b685729efe");
    assert!(matches!(garbage, Unsound::Message { .. }), "{garbage}");
    for (hex, field) in [
        (
            "f3899ac20a05616c6963651a02080020327fb88cbd81a06dda24a1f6bfdf2a",
            "data",
        ),
        (
            "f3899ac20a05616c6963651a041a026131f3748ac1c993969d8d710c4828842880",
            "partition_key_index",
        ),
    ] {
        assert_eq!(unsound(hex), Unsound::Missing { record: 0, field });
    }
}

#[test]
fn a_record_that_points_nowhere_makes_all_of_it_plain() {
    assert_eq!(
        unsound(INDEX).to_string(),
        "record 1 of it, counted from 0, has entry 1 of `partition_key_table`, which has 1"
    );
    let hash = "f3899ac20a05616c6963651201371a08080010011a0261310333e5558fdb7ee759788882a19c888b";
    let index = Unsound::Index {
        record: 0,
        table: "explicit_hash_key_table",
        index: 1,
        entries: 1,
    };
    assert_eq!(unsound(hash), index);
}

#[test]
fn a_key_that_is_not_the_aggregate_s_is_told() {
    let three = decoded(THREE);
    assert_eq!(three.mixed_key(Some(b"alice")), Some(1));
    assert_eq!(three.mixed_key(Some(b"bob")), Some(0));
    // A stream that places records by itself has no key to compare with.
    assert_eq!(three.mixed_key(None), Some(0));
    assert_eq!(decoded(FIVE).mixed_key(Some(b"alice")), None);
}

/// Writes an aggregate as the format's description has it; nothing of it comes from the decoder.
pub(crate) fn encode(keys: &[&[u8]], explicit: &[&[u8]], records: &[Wire<'_>]) -> Bytes {
    let mut message = Vec::new();
    for key in keys {
        field(&mut message, 0x0a, key);
    }
    for key in explicit {
        field(&mut message, 0x12, key);
    }
    for (key, explicit, data) in records {
        let mut record = vec![0x08];
        varint(&mut record, *key);
        if let Some(explicit) = explicit {
            record.push(0x10);
            varint(&mut record, *explicit);
        }
        field(&mut record, 0x1a, data);
        field(&mut message, 0x1a, &record);
    }
    let digest = Md5::digest(&message);
    [&MAGIC[..], &message, &digest[..]].concat().into()
}

/// Index of the key, of the explicit hash key, and payload.
pub(crate) type Wire<'a> = (u64, Option<u64>, &'a [u8]);

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[test]
fn the_encoder_of_these_tests_writes_what_the_other_one_did() {
    let records: [Wire<'_>; 3] = [(0, None, b"a1"), (1, Some(0), b"b1"), (0, None, b"")];
    assert_eq!(
        encode(&[b"alice", b"bob"], &[b"1234567890"], &records),
        bytes(THREE)
    );
}

fn random_bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    (0..random.usize(..=most)).map(|_| random.u8(..)).collect()
}

fn slices(table: &[Vec<u8>]) -> Vec<&[u8]> {
    table.iter().map(Vec::as_slice).collect()
}

/// Any aggregate comes apart into what was put in, or is plain as a whole; any byte of it that is
/// changed, and any cut, makes it plain. `LANEKEEPER_TEST_SEED` replays one.
#[test]
fn random_aggregates_come_apart_whole_or_not_at_all() {
    let one = std::env::var("LANEKEEPER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..500, |seed: u64| seed..seed + 1) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut table = |most| -> Vec<Vec<u8>> {
            let entries = random.usize(0..=most);
            (0..entries)
                .map(|_| random_bytes(&mut random, 200))
                .collect()
        };
        let (keys, explicit) = (table(4), table(2));
        let records: Vec<(u64, Option<u64>, Vec<u8>)> = (0..random.usize(0..=8))
            .map(|_| {
                // Now and then behind the table's end.
                let key = random.u64(0..=keys.len() as u64 * 8) / 8;
                let hash = random
                    .bool()
                    .then(|| random.u64(0..=explicit.len() as u64 * 8) / 8);
                (key, hash, random_bytes(&mut random, 300))
            })
            .collect();
        let wire: Vec<Wire<'_>> = records
            .iter()
            .map(|(k, h, data)| (*k, *h, &data[..]))
            .collect();
        let encoded = encode(&slices(&keys), &slices(&explicit), &wire);
        let expected: Option<Parts> = records
            .iter()
            .map(|(key, hash, data)| {
                let key = keys.get(*key as usize)?.clone();
                let hash = match hash {
                    Some(hash) => Some(explicit.get(*hash as usize)?.clone()),
                    None => None,
                };
                Some((key, hash, data.clone()))
            })
            .collect();
        let found = decode(&encoded).ok().flatten().as_ref().map(parts);
        assert_eq!(found, expected.filter(|all| !all.is_empty()), "seed {seed}");

        let mut changed = encoded.to_vec();
        let at = random.usize(..changed.len());
        changed[at] ^= random.u8(1..);
        let changed = decode(&changed.into());
        assert!(!matches!(changed, Ok(Some(_))), "seed {seed}: byte {at}");
        let cut = decode(&encoded.slice(..random.usize(..encoded.len())));
        assert!(!matches!(cut, Ok(Some(_))), "seed {seed}: cut");
    }
}
