//! Reading the command line.

use crate::Problems;
use clap::{Command, CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Parses the command line and the environment; an empty variable counts as not set. Wrong usage
/// is said and ends the process with exit code 2 (0 for `--help` and `--version`).
#[must_use]
pub fn parse<C: CommandFactory + FromArgMatches>() -> C {
    let command = without_empty_variables(C::command());
    let result = command
        .try_get_matches()
        .and_then(|matches| C::from_arg_matches(&matches));
    result.unwrap_or_else(|error| error.exit())
}

/// Says what is wrong with the settings; exit code 2.
#[must_use]
pub fn exit_with_problems(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(2)
}

/// clap takes an empty variable for a value; compose files set empty variables to say "not set".
fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let empty = arg
            .get_env()
            .is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
        if empty { arg.env(None::<&str>) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}
