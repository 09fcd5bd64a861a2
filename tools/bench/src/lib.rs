// SPDX-License-Identifier: MPL-2.0
//! The results of the benchmark, and the tables and plots of documents that are made of them. The
//! program `bench` measures; tests hold the documents against the tables.

pub mod plot;
pub mod results;
pub mod tables;

#[cfg(test)]
mod sample;
