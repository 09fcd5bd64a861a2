// SPDX-License-Identifier: MPL-2.0
//! The results of the benchmark, and the tables of documents that are made of them. The program
//! `bench` measures; tests hold the documents against these tables.

pub mod results;
