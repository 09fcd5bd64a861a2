// SPDX-License-Identifier: MPL-2.0
//! The machines: QEMU with the firmware that Debian packages.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::console::Screen;

const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What a machine starts with.
pub enum Firmware {
    /// A BIOS, and iPXE in the option ROM of the network card. QEMU takes both by itself, from
    /// Debian's packages seabios and ipxe-qemu.
    Ipxe,
    /// UEFI firmware of Debian's package ovmf, with the file of its variables. The network card has
    /// no option ROM: the firmware's own driver and HTTP boot are shown.
    UefiHttp(PathBuf),
}

impl Firmware {
    /// UEFI firmware whose variables are new. They stay in `folder`, from one start of the machine
    /// to the next.
    pub fn uefi_http(folder: &Path) -> Result<Firmware> {
        let variables = folder.join("variables.fd");
        fs::copy(OVMF_VARIABLES, &variables)
            .with_context(|| format!("{OVMF_VARIABLES} of Debian's package ovmf"))?;
        Ok(Firmware::UefiHttp(variables))
    }

    /// What the console says when the firmware found nothing that it could boot.
    pub fn gives_up(&self, line: &str) -> bool {
        match self {
            Firmware::Ipxe => {
                line.contains("No bootable device") || line.contains("No boot URL for this machine")
            }
            Firmware::UefiHttp(_) => line.contains("BdsDxe: failed to load"),
        }
    }

    fn arguments(&self, mac: &str) -> Vec<String> {
        let card = format!("virtio-net-pci,netdev=cable,mac={mac},bootindex=1");
        let arguments = match self {
            // graphics=off: the BIOS writes to the serial console.
            Firmware::Ipxe => format!("-machine pc,graphics=off -m 128 -device {card}"),
            // The firmware would try PXE over IPv4 and IPv6 first, and wait for both.
            Firmware::UefiHttp(variables) => format!(
                "-machine q35 -m 256 -device {card},romfile= \
                 -drive if=pflash,format=raw,readonly=on,file={OVMF} \
                 -drive if=pflash,format=raw,file={} \
                 -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
                 -fw_cfg name=opt/org.tianocore/IPv6Support,string=n",
                variables.display()
            ),
        };
        arguments.split(' ').map(str::to_owned).collect()
    }
}

/// What a machine did next.
pub enum Step {
    /// It wrote this line to its console.
    Wrote(String),
    /// It did nothing for the time that was waited.
    Nothing,
    /// It has ended.
    Ended,
}

/// A machine that is switched on. When it is dropped, it is switched off.
pub struct Machine {
    qemu: Child,
    console: Receiver<String>,
}

impl Machine {
    /// Switches a machine on whose cable goes to this port. Also returns the command line.
    pub fn start(firmware: &Firmware, port: &str, mac: &str) -> Result<(Machine, String)> {
        let mut arguments = firmware.arguments(mac);
        // The accelerator is QEMU's own interpreter: the demo needs no KVM. The machine ends where
        // it would start again.
        let common = format!(
            "-accel tcg -nodefaults -no-user-config -no-reboot -display none -serial stdio \
             -netdev tap,id=cable,ifname={port},script=no,downscript=no"
        );
        arguments.splice(0..0, common.split(' ').map(str::to_owned));
        let program = remote_opts_test_support::program("qemu-system-x86_64", "qemu-system-x86")?;
        // setpriv: the kernel ends QEMU when this process dies without cleaning up.
        let mut qemu = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("setpriv of Debian's util-linux")?;
        let output = qemu.stdout.take().context("the console")?;
        let (send, console) = mpsc::channel();
        let machine = Machine { qemu, console };
        thread::spawn(move || {
            let mut screen = Screen::default();
            for byte in BufReader::new(output).bytes().map_while(io::Result::ok) {
                // Nobody listens once the machine is switched off.
                screen.put(byte).map(|line| send.send(line));
            }
            screen.end().map(|line| send.send(line));
        });
        Ok((machine, format!("{} {}", program.display(), arguments.join(" "))))
    }

    /// Waits for the machine's next step, at most for this time. The error is that QEMU itself
    /// failed.
    pub fn step(&mut self, patience: Duration) -> Result<Step> {
        match self.console.recv_timeout(patience) {
            Ok(line) => Ok(Step::Wrote(line)),
            Err(RecvTimeoutError::Timeout) => Ok(Step::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.qemu.wait()?;
                ensure!(status.success(), "QEMU ended with {status}");
                Ok(Step::Ended)
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill(); // It may have ended already.
        let _ = self.qemu.wait();
    }
}
