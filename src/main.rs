//! The `osimg` program: parse the command line, run, and return the exit code.

fn main() -> std::process::ExitCode {
    osimg::cli::main()
}
