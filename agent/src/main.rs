//! The agent's binary; everything is in the library, so that tests and examples can run it in-process.

/// One heap for all threads, which gives back to the system what is freed: with any other that was tried, resident memory goes
/// over the cap by more than is allowed for (`ARCHITECTURE.md` has the figures).
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const _: () = assert!(
    option_env!("JEMALLOC_SYS_WITH_MALLOC_CONF").is_some(),
    "the allocator is not configured: build inside the repository, whose .cargo/config.toml does it"
);

fn main() -> std::process::ExitCode {
    pyralog_service::panics::end_the_process(&[]);
    pyralog_agent::cli::main()
}
