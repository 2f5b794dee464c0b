#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pyralog_fuzz::line_protocol(data));
