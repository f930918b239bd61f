//! Whatever bytes a record has: a plain record, or an aggregate that comes apart into all that it holds.
#![no_main]

use lanekeeper::kpl::{Aggregate, decode, is_marked};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// An aggregate as a producer might write it: few random bytes are one.
#[derive(Arbitrary, Debug)]
struct Given {
    keys: Vec<Vec<u8>>,
    explicit_hash_keys: Vec<Vec<u8>>,
    /// Key, explicit hash key, payload.
    records: Vec<(u8, Option<u8>, Vec<u8>)>,
}

fuzz_target!(|input: &[u8]| {
    read(input);
    // Few random bytes have an MD5 that fits: without this nothing behind it would be reached.
    read(&seal(input));
    if let Ok(given) = Given::arbitrary(&mut Unstructured::new(input)) {
        given.demand();
    }
});

fn seal(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &Md5::digest(message)[..]].concat()
}

fn read(data: &[u8]) -> Option<Aggregate> {
    let decoded = decode(&data.to_vec().into());
    match &decoded {
        Ok(None) => assert!(!is_marked(data)),
        Err(_) => assert!(is_marked(data)),
        Ok(Some(aggregate)) => {
            assert!(aggregate.records().len() > 0, "a record is gone");
            let payloads: usize = aggregate.records().map(|record| record.data.len()).sum();
            assert!(payloads <= data.len(), "more payload than there was");
            for record in aggregate.records() {
                assert_eq!(aggregate.keys()[record.key_index], record.key);
            }
        }
    }
    decoded.ok().flatten()
}

impl Given {
    fn demand(&self) {
        let is_sound = self.records.iter().all(|(key, explicit, _)| {
            let explicit = explicit.is_none_or(|n| usize::from(n) < self.explicit_hash_keys.len());
            usize::from(*key) < self.keys.len() && explicit
        });
        let Some(aggregate) = read(&seal(&self.encode())) else {
            assert!(
                !is_sound || self.records.is_empty(),
                "a sound one is refused"
            );
            return;
        };
        assert!(is_sound, "a record that points nowhere");
        assert_eq!(aggregate.records().len(), self.records.len());
        for (found, (key, explicit, data)) in aggregate.records().zip(&self.records) {
            assert_eq!(found.key, &self.keys[usize::from(*key)]);
            let explicit = explicit.map(|n| &self.explicit_hash_keys[usize::from(n)][..]);
            assert_eq!(found.explicit_hash_key.map(|key| &key[..]), explicit);
            assert_eq!(found.data, data);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for key in &self.keys {
            field(&mut out, 0x0a, key);
        }
        for key in &self.explicit_hash_keys {
            field(&mut out, 0x12, key);
        }
        for (key, explicit, data) in &self.records {
            let mut record = vec![0x08];
            varint(&mut record, usize::from(*key));
            if let Some(explicit) = explicit {
                record.push(0x10);
                varint(&mut record, usize::from(*explicit));
            }
            field(&mut record, 0x1a, data);
            field(&mut out, 0x1a, &record);
        }
        out
    }
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
