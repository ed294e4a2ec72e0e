//! Whether a built server is the one that its sources would give: figures of an
//! old one are worse than none. Goes by what cargo writes beside the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Why the server `program` may not be what it is taken for, if there is a
/// reason: a source is newer than it, or it is of another version than `version`.
pub(crate) fn doubt(program: &Path, version: &str) -> Option<String> {
    let name = program.file_name()?.to_string_lossy();
    if let Some(source) = newer_source(program) {
        let source = source.display();
        return Some(format!("{name} is older than {source}: build it again"));
    }
    let theirs = version_of(program)?;
    let differs = theirs != version;
    differs.then(|| format!("{name} is version {theirs}, this load test is {version}"))
}

/// The newest of the sources that `program` was built from, if it is newer.
/// `None` for a program that cargo has not built here.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let built = modified(program)?;
    let rule = fs::read_to_string(program.with_extension("d")).ok()?;
    let newest = sources(&rule).filter_map(|path| Some((modified(&path)?, path))).max()?;
    (newest.0 > built).then_some(newest.1)
}

/// What a rule `target: source source …` names, in which a space of a name
/// follows a backslash.
fn sources(rule: &str) -> impl Iterator<Item = PathBuf> {
    let names = rule.split_once(": ").map_or("", |(_, sources)| sources.trim_end());
    let names = names.replace("\\ ", "\0");
    let names: Vec<_> =
        names.split_whitespace().map(|name| PathBuf::from(name.replace('\0', " "))).collect();
    names.into_iter()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// What `program --version` says behind the name; `None` if it says nothing of
/// the kind.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    /// A folder with a server of version 1.2.3, built after its one source.
    struct Built(PathBuf);

    impl Built {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let built = Self(folder);
            fs::write(built.source(), "").unwrap();
            fs::write(built.program(), "#!/bin/sh\necho shardcast 1.2.3\n").unwrap();
            fs::set_permissions(built.program(), fs::Permissions::from_mode(0o755)).unwrap();
            let source = built.source().display().to_string().replace(' ', "\\ ");
            let rule = format!("{}: {source}\n", built.program().display());
            fs::write(built.program().with_extension("d"), rule).unwrap();
            built.age(Duration::from_secs(60));
            built
        }

        fn program(&self) -> PathBuf {
            self.0.join("shardcast")
        }

        fn source(&self) -> PathBuf {
            self.0.join("a source.rs")
        }

        /// Makes the source older than the program by `age`.
        fn age(&self, age: Duration) {
            let built = modified(&self.program()).unwrap();
            let source = fs::File::options().write(true).open(self.source()).unwrap();
            source.set_modified(built - age).unwrap();
        }

        fn touch(&self) {
            let built = modified(&self.program()).unwrap();
            let source = fs::File::options().write(true).open(self.source()).unwrap();
            source.set_modified(built + Duration::from_secs(1)).unwrap();
        }
    }

    impl Drop for Built {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_server_older_than_a_source_of_its_is_doubted() {
        let built = Built::new("older");
        assert_eq!(doubt(&built.program(), "1.2.3"), None);
        built.touch();
        let why = doubt(&built.program(), "1.2.3").unwrap();
        assert!(why.contains("a source.rs") && why.contains("build it again"), "{why}");
    }

    #[test]
    fn a_server_of_another_version_is_doubted() {
        let built = Built::new("version");
        let why = doubt(&built.program(), "2.0.0").unwrap();
        assert!(why.contains("is version 1.2.3, this load test is 2.0.0"), "{why}");
    }
}
