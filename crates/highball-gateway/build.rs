//! Compiles the descriptors that every gateway knows: the details of errors, and raw bodies. No protoc: protox parses.

use std::error::Error;
use std::path::PathBuf;

const ROOT: &str = "../../proto";
const FILES: [&str; 4] = [
    "google/api/annotations.proto",
    "google/api/httpbody.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}/google");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(false).include_imports(true).open_files(FILES)?;
    std::fs::write(out.join("standard.bin"), compiler.encode_file_descriptor_set())?;
    Ok(())
}
