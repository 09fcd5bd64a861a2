//! Where cargo put the hook library.

use std::env;
use std::path::{Path, PathBuf};

/// The library that was built together with the running program; `REMOPTS_LIBRARY` names another.
pub fn path() -> PathBuf {
    if let Some(path) = env::var_os("REMOPTS_LIBRARY") {
        return path.into();
    }
    let program = env::current_exe().expect("the path of the running program");
    // A test runs in target/PROFILE/deps, an example in target/PROFILE/examples. `deps` comes first: the copy
    // beside it is only renewed by `cargo build`.
    program
        .ancestors()
        .skip(1)
        .flat_map(|folder| ["deps/libremote_opts.so", "libremote_opts.so"].map(|name| folder.join(name)))
        .find(|path| Path::is_file(path))
        .unwrap_or_else(|| panic!("no libremote_opts.so above {}: run `cargo build`", program.display()))
}
