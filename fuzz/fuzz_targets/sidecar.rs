#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyralog_fuzz::sidecar(data));
