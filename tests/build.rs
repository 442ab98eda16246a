//! Generates the same test service for tonic and for connectrpc, and tonic clients of the reference services: two code
//! generators that share nothing with each other.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut lines = protox::Compiler::new(["proto", "../proto"])?;
    lines.include_imports(true).open_files(["lines.proto"])?;
    fs::write(out.join("lines.bin"), lines.encode_file_descriptor_set())?;

    let shop = compile("proto", &["shop.proto"])?;
    let set = out.join("shop.bin");
    fs::write(&set, shop.encode_file_descriptor_set())?;
    tonic(&out.join("tonic"), &shop)?;
    connectrpc_build::Config::new()
        .files(&["shop.proto"])
        .descriptor_set(&set)
        .include_file("shop_connect.rs")
        .compile()?;

    let reference = [
        "ecommerce/v1/order_service.proto",
        "user/v1/user.proto",
        "user/v2/user.proto",
        "greeter/greeter.proto",
    ];
    tonic(&out.join("reference"), &compile("../proto", &reference)?)
}

fn compile(root: &str, files: &[&str]) -> Result<protox::Compiler, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).open_files(files)?;
    Ok(compiler)
}

fn tonic(out: &Path, compiler: &protox::Compiler) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    tonic_prost_build::configure().out_dir(out).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
