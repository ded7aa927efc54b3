//! Each mistake with `#[processor]` gives an error that says what to write.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/processor.rs");
    cases.pass("tests/ui/any-error.rs");
    cases.compile_fail("tests/ui/mistake-*.rs");
}
