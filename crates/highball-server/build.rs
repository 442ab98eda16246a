//! Compiles the health and reflection protocols. No protoc: protox parses, buffa generates.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 3] = [
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let set = out.join("builtin.bin");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(false).include_imports(true).open_files(FILES)?;
    std::fs::write(&set, compiler.encode_file_descriptor_set())?;
    buffa_build::Config::new()
        .files(&FILES)
        .descriptor_set(&set)
        .include_file("builtin.rs")
        .generate_views(false)
        .generate_json(false)
        .compile()
}
