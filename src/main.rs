//! The `osimg` program: parse, run, exit code.

fn main() -> std::process::ExitCode {
    osimg::cli::main()
}
