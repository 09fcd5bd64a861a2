//! Finds Kea, makes the log message definitions, and compiles the C++ shim against Kea's headers.
//!
//! Kea is looked for in `KEA_INCLUDE_DIR` and `KEA_LIB_DIR`, else where pkg-config says (Kea 3.0 has a kea.pc),
//! else in /usr/include/kea, where Debian's kea-dev puts it.
//!
//! The cdylib is not linked with Kea's libraries: it takes their symbols from the server that loads it, so that
//! a server of another version can open it and refuse it by its version. The test programs, which Kea does
//! not load, are linked with them.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const MESSAGES: &str = "messages/remopts_messages.mes";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    if let Err(error) = run() {
        // A panic would bury the text under a backtrace.
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let kea = Kea::find()?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={MESSAGES}");
    // Another Kea: its headers keep the times that they were packaged with, the folder tells.
    println!("cargo:rerun-if-changed={}", kea.include.join("hooks").display());

    let messages = read_messages(&fs::read_to_string(MESSAGES)?)?;
    fs::write(out.join("messages.rs"), rust_messages(&messages))?;
    // A part of shim/log.cc: an object of its own, which nothing refers to, would be left out by the linker.
    fs::write(out.join("remopts_messages.inc"), cxx_messages(&messages))?;

    let mut shim = cxx_build::bridge("src/bridge.rs");
    shim.std("c++17").flag("-isystem").flag(kea.include.to_str().ok_or("Kea's folder is not UTF-8")?);
    shim.include(&out);
    // Behind Kea's: see the headers there.
    shim.flag("-isystem").flag("shim/stand-ins");
    // dhcpsrv/cfgmgr.h of Kea 3.0 includes a header that wants these of Kea's config.h, which is not installed.
    shim.define("CONFIG_H_WAS_INCLUDED", None).define("WITH_OPENSSL", None);
    // cxx_build watches the bridge alone; a changed shim would silently not be compiled again.
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=shim/stand-ins");
    for entry in fs::read_dir("shim")? {
        let path = entry?.path();
        println!("cargo:rerun-if-changed={}", path.display());
        if path.extension().is_some_and(|extension| extension == "cc") {
            shim.file(path);
        }
    }
    // src/lib.rs names the shim to the linker, so that it comes before Kea's libraries in a test program: a linker that
    // takes libraries as needed would find no need for those yet.
    shim.cargo_metadata(false).compile("remopts_shim");
    println!("cargo:rustc-link-search=native={}", out.display());

    // References inside the library are bound inside it: no other hook library can take them over.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-Bsymbolic");
    // See shim/sockets.cc.
    println!("cargo:rustc-link-arg-cdylib=-Wl,--wrap=socket");
    // Unloaded, the library stays mapped: the system's resolver may still be at work in one of its threads, and cannot be
    // interrupted.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");
    kea.link_test_programs(&out)
}

/// Where Kea's headers and libraries are.
struct Kea {
    include: PathBuf,
    /// Folder of the libraries, where it is not one that the linker searches anyway.
    lib: Option<PathBuf>,
}

impl Kea {
    /// Finds Kea as the head of this file says; the error names the packages to install.
    fn find() -> Result<Self> {
        for name in ["KEA_INCLUDE_DIR", "KEA_LIB_DIR"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        let lib = env::var_os("KEA_LIB_DIR").map(PathBuf::from);
        let mut candidates = Vec::new();
        if let Some(include) = env::var_os("KEA_INCLUDE_DIR") {
            candidates.push((PathBuf::from(include), lib));
        } else {
            // The folders alone: a probe would want all that Kea is linked with, down to its databases.
            if let Ok(include) = pkg_config::get_variable("kea", "includedir") {
                let libdir = pkg_config::get_variable("kea", "libdir").ok().map(PathBuf::from);
                candidates.push((Path::new(&include).join("kea"), lib.clone().or(libdir)));
            }
            candidates.push((PathBuf::from("/usr/include/kea"), lib));
        }
        for (include, lib) in &candidates {
            if include.join("hooks/hooks.h").is_file() {
                return Ok(Kea { include: include.clone(), lib: lib.clone() });
            }
        }
        let searched: Vec<_> = candidates.iter().map(|(dir, _)| dir.display().to_string()).collect();
        Err(format!(
            "the headers of ISC Kea (hooks/hooks.h) are not in {}.\n\
             On Debian and Ubuntu: apt-get install kea-dev libboost-dev g++ libssl-dev pkg-config\n\
             Elsewhere: set KEA_INCLUDE_DIR to the folder that holds hooks/hooks.h, and KEA_LIB_DIR to \
             that of libkea-log.so",
            searched.join(" or ")
        )
        .into())
    }

    /// Names the libraries for the unit tests, which hold the whole crate but are not loaded by Kea. (Cargo's
    /// `rustc-link-arg-tests` does not reach unit tests, hence a file of `#[link]` attributes.)
    fn link_test_programs(&self, out: &Path) -> Result<()> {
        if let Some(dir) = &self.lib {
            println!("cargo:rustc-link-search=native={}", dir.display());
        }
        let mut links = String::new();
        for library in [
            dhcp_library(&self.include)?,
            "kea-dhcpsrv",
            "kea-eval",
            "kea-asiolink",
            "kea-hooks",
            "kea-stats",
            "kea-cc",
            "kea-util",
            "kea-log",
            "kea-exceptions",
        ] {
            writeln!(links, "#[link(name = \"{library}\")]\nunsafe extern \"C\" {{}}")?;
        }
        fs::write(out.join("link_kea.rs"), links)?;
        Ok(())
    }
}

/// Name of the library of DHCP packets and options: libkea-dhcp++ became libkea-dhcp in Kea 3.0.
fn dhcp_library(include: &Path) -> Result<&'static str> {
    let hooks = fs::read_to_string(include.join("hooks/hooks.h"))?;
    let version = hooks
        .split_once("KEA_HOOKS_VERSION = ")
        .and_then(|(_, rest)| rest.split(';').next()?.parse::<u32>().ok())
        .ok_or("hooks/hooks.h does not say KEA_HOOKS_VERSION")?;
    Ok(if version < 30000 { "kea-dhcp++" } else { "kea-dhcp" })
}

/// One message of the .mes file (the format is that of Kea's own message compiler).
struct Message {
    id: String,
    /// The text with its placeholders %1, %2, …
    text: String,
    /// What operators read to know what happened and what to do.
    explanation: Vec<String>,
}

impl Message {
    /// How many placeholders the text has.
    fn placeholders(&self) -> usize {
        (1..=9).take_while(|n| self.text.contains(&format!("%{n}"))).count()
    }
}

/// Reads the .mes file: `% ID text`, then lines of explanation; `#` starts a comment, `$` a directive.
fn read_messages(file: &str) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    for line in file.lines().map(str::trim_end) {
        if line.starts_with('#') || line.starts_with('$') {
            continue;
        }
        if let Some(head) = line.strip_prefix("% ") {
            let (id, text) = head.split_once(' ').ok_or_else(|| format!("{MESSAGES}: no text: {line}"))?;
            messages.push(Message { id: id.to_owned(), text: text.to_owned(), explanation: Vec::new() });
        } else if let Some(message) = messages.last_mut() {
            message.explanation.push(line.to_owned());
        } else if !line.is_empty() {
            return Err(format!("{MESSAGES}: text before the first message: {line}").into());
        }
    }
    for message in &mut messages {
        while message.explanation.last().is_some_and(String::is_empty) {
            message.explanation.pop();
        }
        if !message.id.starts_with("REMOPTS_") || message.explanation.is_empty() {
            return Err(
                format!("{MESSAGES}: {} must begin with REMOPTS_ and be explained", message.id).into()
            );
        }
    }
    if let Some(pair) = messages.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        return Err(format!("{MESSAGES}: {} must come before {}", pair[1].id, pair[0].id).into());
    }
    Ok(messages)
}

/// The constants that Rust logs with.
fn rust_messages(messages: &[Message]) -> String {
    let mut code = String::new();
    for message in messages {
        let Message { id, text, explanation } = message;
        let placeholders = message.placeholders();
        let _ = writeln!(code, "/// `{text}`\n///");
        for line in explanation {
            let _ = writeln!(code, "/// {line}");
        }
        let _ = writeln!(code, "pub const {id}: Message<{placeholders}> = Message::new({id:?});\n");
    }
    code
}

/// The definitions that Kea's logger finds when it has loaded the library: identifiers and texts in turn.
fn cxx_messages(messages: &[Message]) -> String {
    let mut code = String::from("const char* definitions[] = {\n");
    for Message { id, text, .. } in messages {
        let _ = writeln!(code, "    {id:?}, {text:?},");
    }
    code.push_str("    nullptr};\n");
    code
}
