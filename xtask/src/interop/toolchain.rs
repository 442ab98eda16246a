//! The clients' languages: found on this machine, their packages installed once, at pinned versions.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Suite;
use crate::Error;
use crate::process;

/// Downloads included.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// `--version` answers at once, or something is wrong with the machine.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// An interpreter with the packages a suite needs.
#[derive(Debug)]
pub(super) struct Toolchain {
    program: PathBuf,
    script: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Toolchain {
    /// The suite's script, without its arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.script);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

/// Finds the interpreter and installs its packages below `work`, unless that was done before for the same pins.
pub(super) fn prepare(suite: Suite, root: &Path, work: &Path) -> Result<Toolchain, Error> {
    let from = root.join("tests/interop").join(suite.name());
    let to = work.join(suite.name());
    match suite {
        Suite::Python => python(&from, &to),
        Suite::Node => node(&from, &to),
    }
}

fn python(from: &Path, to: &Path) -> Result<Toolchain, Error> {
    let python = to.join("venv/bin/python");
    let requirements = from.join("requirements.txt");
    let stamp = Stamp::new(to, &version("python3")?, &[&requirements])?;
    if !stamp.holds() {
        stamp.start_over()?;
        let mut venv = Command::new("python3");
        process::run("python3 -m venv", venv.args(["-m", "venv"]).arg(to.join("venv")), INSTALL_LIMIT)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        process::run("pip install", pip.arg(&requirements), INSTALL_LIMIT)?;
        stamp.set()?;
    }
    // Generated stubs and byte code stay out of the sources.
    let environment =
        vec![("PYTHONPYCACHEPREFIX", to.join("cache")), ("INTEROP_GENERATED", to.join("generated"))];
    Ok(Toolchain { program: python, script: from.join("run.py"), environment })
}

fn node(from: &Path, to: &Path) -> Result<Toolchain, Error> {
    let (manifest, lock) = (from.join("package.json"), from.join("package-lock.json"));
    let versions = format!("{} {}", version("node")?, version("npm")?);
    let stamp = Stamp::new(to, &versions, &[&manifest, &lock])?;
    if !stamp.holds() {
        stamp.start_over()?;
        for file in [&manifest, &lock] {
            fs::copy(file, to.join(file.file_name().unwrap_or_default()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(to);
        process::run("npm ci", &mut npm, INSTALL_LIMIT)?;
        stamp.set()?;
    }
    let environment = vec![("NODE_PATH", to.join("node_modules"))];
    Ok(Toolchain { program: PathBuf::from("node"), script: from.join("run.js"), environment })
}

/// The program's answer to `--version`; an error when it is not there.
fn version(program: &str) -> Result<String, Error> {
    let mut answer = String::new();
    let mut command = Command::new(program);
    command.arg("--version").stderr(Stdio::inherit());
    process::run_with_lines(program, &mut command, VERSION_LIMIT, |line| answer.push_str(&line))?;
    Ok(answer)
}

/// What an installation was made from. It is written last, so that half an installation never counts as one.
struct Stamp {
    folder: PathBuf,
    content: String,
}

impl Stamp {
    fn new(folder: &Path, versions: &str, pins: &[&Path]) -> Result<Self, Error> {
        let mut content = format!("{versions}\n");
        for pin in pins {
            let text = fs::read_to_string(pin).map_err(|error| format!("{}: {error}", pin.display()))?;
            writeln!(content, "{text}")?;
        }
        Ok(Self { folder: folder.to_owned(), content })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("stamp")
    }

    fn holds(&self) -> bool {
        fs::read_to_string(self.path()).is_ok_and(|content| content == self.content)
    }

    fn start_over(&self) -> Result<(), Error> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(fs::create_dir_all(&self.folder)?)
    }

    fn set(&self) -> Result<(), Error> {
        Ok(fs::write(self.path(), &self.content)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_counts_until_its_pins_change() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let (pins, folder) = (temporary.path().join("pins"), temporary.path().join("installed"));
        fs::write(&pins, "a==1").expect("pins");
        let stamp = Stamp::new(&folder, "Python 3", &[&pins]).expect("a stamp");
        assert!(!stamp.holds());
        stamp.start_over().expect("a folder");
        assert!(!stamp.holds(), "half an installation");
        stamp.set().expect("a file");
        assert!(Stamp::new(&folder, "Python 3", &[&pins]).expect("a stamp").holds());
        assert!(!Stamp::new(&folder, "Python 4", &[&pins]).expect("a stamp").holds());
        fs::write(&pins, "a==2").expect("pins");
        assert!(!Stamp::new(&folder, "Python 3", &[&pins]).expect("a stamp").holds());
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let error = version("highball-no-such-interpreter").unwrap_err();
        assert_eq!(error.to_string(), "highball-no-such-interpreter is not installed");
    }
}
