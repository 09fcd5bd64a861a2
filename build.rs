// SPDX-License-Identifier: MPL-2.0
//! Finds Kea, makes the log message definitions, and compiles the C++ shim against Kea's headers.
//!
//! Kea is looked for in `KEA_INCLUDE_DIR` and `KEA_LIB_DIR`, else where pkg-config says (Kea 3.0
//! has a kea.pc), else in /usr/include/kea, where Debian's kea-dev puts it.
//!
//! The cdylib is not linked with Kea's libraries: it takes their symbols from the server that loads
//! it, so that a server of another version can open the library and refuse it by its version. The
//! unit tests, which Kea does not load, are linked with Kea's libraries.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The files with a bridge between Rust and C++.
const BRIDGES: [&str; 2] = ["src/ffi.rs", "src/callouts.rs"];

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
    // Watches the folder, because the headers of another Kea keep the times of their package.
    println!("cargo:rerun-if-changed={}", kea.include.join("hooks").display());

    let messages = remote_opts_messages::all()?;
    fs::write(out.join("messages.rs"), remote_opts_messages::rust(&messages))?;
    // A part of shim/log.cc, because the linker would leave out an object to which nothing refers.
    fs::write(out.join("remopts_messages.inc"), remote_opts_messages::cxx(&messages))?;

    let mut shim = cxx_build::bridges(BRIDGES);
    let include = kea.include.to_str().ok_or("the path of Kea's headers is not UTF-8")?;
    shim.std("c++17").flag("-isystem").flag(include).include(&out);
    // Behind Kea's own headers: a header there wins over its stand-in.
    shim.flag("-isystem").flag("shim/stand-ins");
    // dhcpsrv/cfgmgr.h of Kea 3.0 includes a header that needs two definitions of Kea's config.h,
    // which is not installed.
    shim.define("CONFIG_H_WAS_INCLUDED", None).define("WITH_OPENSSL", None);
    warn(&mut shim);
    harden(&mut shim)?;
    sanitize(&mut shim);
    forget_folders(&mut shim, &out)?;
    // cxx_build tells cargo to watch the bridges alone. Without this, a changed shim would not be
    // compiled again.
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=shim/stand-ins");
    // In order of their names, not in the order of the folder: each build links alike.
    let mut files =
        fs::read_dir("shim")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    for path in files {
        println!("cargo:rerun-if-changed={}", path.display());
        if path.extension().is_some_and(|extension| extension == "cc") {
            shim.file(path);
        }
    }
    // src/lib.rs names the shim to the linker, so that the shim comes before Kea's libraries in a
    // unit test: a linker that takes libraries as needed would find no need for Kea's libraries
    // yet.
    shim.cargo_metadata(false).compile("remopts_shim");
    println!("cargo:rustc-link-search=native={}", out.display());

    for object in hide_bridge(&out)? {
        println!("cargo:rustc-link-arg-cdylib={}", object.display());
    }
    // What the linker is to do whatever the defaults of this Rust: all addresses of functions are
    // resolved when the library is opened, and are read-only from then on; no stack is executable;
    // no code is written to. (Functions that a foreign Kea lacks are weak: see
    // shim/differences.h.)
    for option in ["relro", "now", "noexecstack", "text"] {
        println!("cargo:rustc-link-arg-cdylib=-Wl,-z,{option}");
    }
    // References inside the library are bound inside the library: no other hook library can take
    // them over.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-Bsymbolic");
    // See shim/sockets.cc.
    println!("cargo:rustc-link-arg-cdylib=-Wl,--wrap=socket");
    // The library stays mapped when Kea has unloaded it: the system's resolver may still be at work
    // in a thread of the library, and cannot be interrupted.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");
    kea.link_unit_tests(&out)
}

/// Has the compiler warn of doubtful code. Kea's headers are system headers: no warning is about
/// them. A later compiler may find more, which must not stop a user's build: a warning is an error
/// only where `REMOPTS_WERROR` is set, as `make lint` and CI do.
fn warn(shim: &mut cc::Build) {
    println!("cargo:rerun-if-env-changed=REMOPTS_WERROR");
    shim.warnings(true).flag("-Wconversion");
    // GCC 16 takes the constructor of cxx's Vec, which Rust fills in, for a use of nothing.
    shim.flag_if_supported("-Wno-maybe-uninitialized");
    shim.warnings_into_errors(env::var_os("REMOPTS_WERROR").is_some());
}

/// Has the compiler add checks that end the process where code would otherwise write past an end.
fn harden(shim: &mut cc::Build) -> Result<()> {
    shim.flag("-fstack-protector-strong").flag_if_supported("-fstack-clash-protection");
    shim.define("_GLIBCXX_ASSERTIONS", None);
    // The C library checks sizes only in optimized code, and warns otherwise. A C library or
    // compiler that has no level 3 takes it as level 2. Some compilers define a level themselves.
    // A sanitizer checks more than these functions do, and does not see what they do.
    if env::var("OPT_LEVEL")? != "0" && sanitizers().is_none() {
        shim.flag("-U_FORTIFY_SOURCE").flag("-D_FORTIFY_SOURCE=3");
    }
    match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => shim.flag("-fcf-protection"),
        "aarch64" => shim.flag("-mbranch-protection=standard"),
        _ => shim,
    };
    Ok(())
}

/// The sanitizers with which rustc compiles (`-Zsanitizer`), as its compiler for C++ names them.
fn sanitizers() -> Option<String> {
    env::var("CARGO_CFG_SANITIZE").ok()
}

/// Has the shim checked by the sanitizers that check the Rust code, as in `make fuzz`. Their
/// runtime is rustc's, in the program that loads the library.
fn sanitize(shim: &mut cc::Build) {
    if let Some(sanitizers) = sanitizers() {
        shim.flag(format!("-fsanitize={sanitizers}")).flag("-fno-omit-frame-pointer");
    }
}

/// Keeps the folders of this machine out of the object files, as `make build` does for Rust: a
/// build in another folder makes the same library.
fn forget_folders(shim: &mut cc::Build, out: &Path) -> Result<()> {
    let source = env::var("CARGO_MANIFEST_DIR")?;
    // The last one that fits counts.
    shim.flag(format!("-ffile-prefix-map={source}=."));
    shim.flag(format!("-ffile-prefix-map={}=out", out.display()));
    Ok(())
}

/// Compiles an object that hides the functions of the bridges, and returns its file.
///
/// rustc exports each function of Rust that C++ may call, and has no means to export less. A linker
/// keeps the narrowest visibility with which any object names a symbol. So the object names each of
/// these functions, as hidden.
fn hide_bridge(out: &Path) -> Result<Vec<PathBuf>> {
    // What cxx has generated for this library's bridges, and cxx's own C++ without its macros.
    let mut texts = Vec::new();
    for bridge in BRIDGES {
        let path = format!("cxxbridge/sources/kea-hook-remote-opts/{bridge}.cc");
        texts.push(fs::read_to_string(out.join(path))?);
    }
    let header = PathBuf::from(env::var("DEP_CXXBRIDGE1_HEADER")?);
    let source = header.with_file_name("../src/cxx.cc");
    let expanded = cc::Build::new().cpp(true).std("c++17").file(source).try_expand()?;
    texts.push(String::from_utf8(expanded)?);

    let names: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "_$".contains(c))))
        .filter(|word| word.contains("cxxbridge1$"))
        .collect();
    // Weak: not every function is in the library. The linker leaves out the table itself, to which
    // nothing refers.
    let mut source = String::new();
    for name in &names {
        writeln!(
            source,
            "extern \"C\" __attribute__((visibility(\"hidden\"), weak)) char {name}[];"
        )?;
    }
    source += "__attribute__((used)) static char* const hidden[] = {\n";
    for name in &names {
        writeln!(source, "    {name},")?;
    }
    source += "};\n";
    let file = out.join("hidden.cc");
    fs::write(&file, source)?;
    Ok(cc::Build::new().cpp(true).cargo_metadata(false).file(file).try_compile_intermediates()?)
}

/// Where Kea's headers and libraries are.
struct Kea {
    /// The folder that holds hooks/hooks.h.
    include: PathBuf,
    /// The folder of Kea's libraries; `None` where the linker finds the libraries by itself.
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
            // Asks for the folders alone: a probe would need every library that Kea is linked with,
            // down to its databases.
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
        let searched: Vec<_> =
            candidates.iter().map(|(dir, _)| dir.display().to_string()).collect();
        Err(format!(
            "the headers of ISC Kea (hooks/hooks.h) are not in {}.\n\
             On Debian and Ubuntu: apt-get install kea-dev libboost-dev g++ libssl-dev pkg-config\n\
             Elsewhere: set KEA_INCLUDE_DIR to the folder that holds hooks/hooks.h, and KEA_LIB_DIR to \
             the folder that holds libkea-log.so",
            searched.join(" or ")
        )
        .into())
    }

    /// Writes a file of `#[link]` attributes, which name Kea's libraries for the unit tests.
    /// (Cargo's `rustc-link-arg-tests` does not reach unit tests.)
    fn link_unit_tests(&self, out: &Path) -> Result<()> {
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
