//! Compiles the `.proto` files: messages and service traits, validators, and the descriptor set for
//! reflection. Everything runs in this process; neither protoc nor a plugin binary is needed.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use buffa::Message as _;
use buffa_codegen::generated::compiler::CodeGeneratorRequest;
use buffa_codegen::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use protoc_gen_protovalidate_buffa::{emit, scan};

const ROOT: &str = "../../proto";

/// The files we speak. Imports that only carry options are compiled but not generated.
const FILES: [&str; 7] = [
    "ecommerce/v1/user.proto",
    "ecommerce/v1/order.proto",
    "ecommerce/v1/order_service.proto",
    "greeter/greeter.proto",
    "user/v1/user.proto",
    "user/v2/user.proto",
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=migrations");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let mut set = compile()?;
    trim(&mut set);
    let descriptors = out.join("descriptors.bin");
    write(&descriptors, &set.encode_to_vec())?;

    connectrpc_build::Config::new()
        .files(&FILES)
        .descriptor_set(&descriptors)
        .emit_rerun_directives(false)
        .include_file("messages.rs")
        .compile()?;
    validators(set.file, &out)
}

fn compile() -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES)?;
    Ok(FileDescriptorSet::decode_from_slice(&compiler.encode_file_descriptor_set())?)
}

/// Comments stay for our own files: reflection clients and documentation read them. Those of vendored files
/// would be most of the set and help nobody.
fn trim(set: &mut FileDescriptorSet) {
    for file in &mut set.file {
        if is_vendored(file) {
            file.source_code_info = Default::default();
        }
    }
}

fn is_vendored(file: &FileDescriptorProto) -> bool {
    file.name.as_deref().is_some_and(|name| name.starts_with("google/") || name.starts_with("buf/"))
}

/// Generates `Validate` for our messages with the library half of the protovalidate plugin, which normally
/// answers protoc. One `<package>.validate.rs` per package.
fn validators(files: Vec<FileDescriptorProto>, out: &Path) -> Result<(), Box<dyn Error>> {
    let request = CodeGeneratorRequest {
        file_to_generate: FILES
            .iter()
            .filter(|name| !name.starts_with("google/"))
            .map(ToString::to_string)
            .collect(),
        proto_file: files,
        ..Default::default()
    };
    let options = emit::Options { packaging: false, file_per_package: true, ..emit::Options::default() };
    for file in emit::render_with_options(&scan::gather(&request)?, &options)? {
        let name = file.name.ok_or("the validator generator named no file")?;
        write(&out.join(name), file.content.unwrap_or_default().as_bytes())?;
    }
    Ok(())
}

/// Writes only what changed, so that an untouched file does not recompile the crate.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content)
}
