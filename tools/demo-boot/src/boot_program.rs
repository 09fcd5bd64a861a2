// SPDX-License-Identifier: MPL-2.0
//! What the machines boot: an iPXE script or a program for UEFI firmware. Each says on the console
//! which one it is, and ends the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The line that a boot script or a boot program writes to the console.
pub fn greeting(name: &str) -> String {
    format!("This is {name}.")
}

/// An iPXE script. QEMU ends where the script restarts the machine. Lines of the console have 80
/// characters, so the script writes two lines. The BIOS holds the last character back for up to a
/// second, so the script waits before it restarts the machine.
pub fn ipxe_script(name: &str) -> Vec<u8> {
    let lines = ["#!ipxe", &format!("echo {}", greeting(name)), "echo Option 224 is ${224}"];
    format!("{}\nsleep 1\nreboot\n", lines.join("\n")).into()
}

/// Builds a UEFI program for x86-64 with the compiler and linker that the hook library needs too.
/// The files of the build go into `folder`.
pub fn efi_program(name: &str, folder: &Path) -> Result<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot_program.c");
    let (object, program) = (folder.join("boot_program.o"), folder.join(name));
    // No standard library, no code that needs one, and no fixed addresses: the firmware loads the
    // program anywhere. The firmware refuses a program with the section .comment (-fno-ident): ld
    // gives the section an address that a program for UEFI cannot have.
    let compiler = Command::new("gcc")
        .args(["-c", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fpic"])
        .args(["-mno-red-zone", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"])
        .args(["-fcf-protection=none", "-fno-ident"])
        .arg(format!("-DTEXT=u\"{}\\r\\n\"", greeting(name)))
        .arg("-o")
        .args([&object, &source])
        .status()
        .context("gcc")?;
    ensure!(compiler.success(), "gcc made no UEFI program ({compiler})");
    // Subsystem 10 is a UEFI application. The relocation section says that the program can move.
    let linker = Command::new("ld")
        .args(["-m", "i386pep", "--subsystem", "10", "--entry", "efi_main", "--strip-all"])
        .args(["--enable-reloc-section", "-o"])
        .args([&program, &object])
        .status()
        .context("ld")?;
    ensure!(linker.success(), "ld made no UEFI program ({linker})");
    fs::read(&program).with_context(|| program.display().to_string())
}
