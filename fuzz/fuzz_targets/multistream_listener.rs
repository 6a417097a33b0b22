#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerkit_fuzz_targets::multistream_listener(data));
