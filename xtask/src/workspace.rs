//! Where the workspace is and which packages it has, as cargo itself sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Error;

/// The workspace root: the folder above this package.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name, also when the manifest renames it.
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for dependencies inside this repository.
    pub(crate) path: Option<PathBuf>,
}

impl Dependency {
    /// `normal`, `dev` or `build`.
    pub(crate) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("normal")
    }

    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// Asks cargo for the members. Needs neither the network nor a resolved lock file.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, Error> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(
            format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into()
        );
    }
    let mut metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    for package in &mut metadata.packages {
        if let Ok(relative) = package.manifest_path.strip_prefix(root) {
            package.manifest_path = relative.to_owned();
        }
    }
    metadata.packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(metadata.packages)
}
