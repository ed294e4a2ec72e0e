//! Where and when results were found: without these a figure cannot be repeated.

use serde_json::{Value, json};
use std::env;
use std::time::SystemTime;

/// The circumstances of a run.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    /// When the run began, in UTC.
    pub(crate) date: String,
    /// Of this program.
    pub(crate) version: &'static str,
    /// The processor's model, as the kernel names it.
    pub(crate) cpu: String,
    /// How many cores the run could use.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// What was typed, with this program by its name only.
    pub(crate) command: String,
}

impl Provenance {
    /// That of this process, which may use `cores`.
    pub(crate) fn here(cores: usize) -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            version: env!("CARGO_PKG_VERSION"),
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            command: command_line(env::args().skip(1)),
        }
    }

    /// All but the command, for a line of text.
    pub(crate) fn machine(&self) -> String {
        let Self { date, version, cpu, cores, kernel, .. } = self;
        format!("{date} · loadtest {version} · {cpu}, {cores} cores · Linux {kernel}")
    }

    /// All of it, for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "date": self.date,
            "version": self.version,
            "command": self.command,
            "machine": { "cpu": self.cpu, "cores": self.cores, "kernel": self.kernel },
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The model in the text of `/proc/cpuinfo`; not every architecture names one.
fn cpu_model(text: &str) -> String {
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let named = value("model name").or_else(|| value("Model")).or_else(|| value("CPU part"));
    named.unwrap_or_else(|| format!("unnamed {} processor", env::consts::ARCH))
}

/// The command that a shell would read as `arguments`.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.,:/@+%".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    arguments.fold("loadtest".to_owned(), |line, argument| {
        if is_plain(&argument) {
            return format!("{line} {argument}");
        }
        format!("{line} '{}'", argument.replace('\'', r"'\''"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let arguments = ["echo", "--require", "rate>1;p99_us<5", "it's"];
        let line = command_line(arguments.map(str::to_owned).into_iter());
        assert_eq!(line, r"loadtest echo --require 'rate>1;p99_us<5' 'it'\''s'");
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2GHz\n"), "Some CPU @ 2GHz");
        assert!(cpu_model("").starts_with("unnamed "));
        let here = Provenance::here(2);
        assert!(here.machine().contains(env!("CARGO_PKG_VERSION")), "{}", here.machine());
        assert!(here.date.starts_with("20") && here.date.ends_with('Z'), "{}", here.date);
    }
}
