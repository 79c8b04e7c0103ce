//! Tests of the micro-controllers over a small fabric whose every reaction is written here.

mod support;

mod assembled;
mod hostile;
mod jobs;
mod memory;
mod pages;
