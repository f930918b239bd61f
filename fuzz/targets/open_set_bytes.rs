//! Whatever bytes a store gives back as an open set: refused, or read and written again as the same.
#![no_main]

use lanekeeper::checkpoint::OpenSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    sound(bytes);
    // Few random bytes have a checksum that fits: without this nothing behind it would be reached.
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    sound(&sealed);
});

fn sound(bytes: &[u8]) {
    let Ok(set) = OpenSet::decode(bytes) else {
        return;
    };
    let positions = set.positions();
    assert!(positions.is_sorted_by(|a, b| a < b), "it does not ascend");
    assert_eq!(OpenSet::decode(&set.encode()).as_ref(), Ok(&set));
}
