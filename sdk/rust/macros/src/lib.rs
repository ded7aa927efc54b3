//! The `#[processor]` macro. Use it through `toril_sdk::processor`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, ReturnType};

const SIGNATURE: &str = "a processor is `fn process(job: Job) -> Result<impl Serialize, Failure>`";

/// Makes a function the processor of this component.
///
/// The function is called once per attempt of a job. It takes the `Job` and returns a
/// `Result<T, Failure>` whose `T` is `Serialize`. A crate has one processor.
#[proc_macro_attribute]
pub fn processor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    let expanded = match check_arguments(arguments).and_then(|()| expand(item.clone())) {
        Ok(expanded) => expanded,
        // The function stays, so that the only error shown is ours.
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    };
    expanded.into()
}

fn check_arguments(arguments: TokenStream) -> Result<(), Error> {
    match Tokens::from(arguments) {
        tokens if tokens.is_empty() => Ok(()),
        tokens => Err(Error::new(
            tokens.span(),
            "`#[processor]` takes no arguments",
        )),
    }
}

fn expand(item: Tokens) -> Result<Tokens, Error> {
    let function: ItemFn = syn::parse2(item.clone()).map_err(|_| {
        Error::new(
            item.span(),
            format!("`#[processor]` belongs on a function: {SIGNATURE}"),
        )
    })?;
    check_signature(&function)?;
    let name = &function.sig.ident;
    let output = function.sig.output.span();
    let call = quote_spanned!(output=> ::toril_sdk::__internal::run(job, #name));
    let section = sdk_section();
    Ok(quote! {
        #function

        #[allow(unsafe_code, reason = "generated: a component's exports are unsafe functions")]
        const _: () = {
            #section

            struct Processor;

            impl ::toril_sdk::__internal::Guest for Processor {
                fn process(
                    job: &::toril_sdk::__internal::RawJob,
                ) -> ::core::result::Result<
                    ::std::string::String,
                    ::toril_sdk::__internal::RawFailure,
                > {
                    #call
                }
            }

            ::toril_sdk::__internal::export_processor!(
                Processor with_types_in ::toril_sdk::__internal::bindings
            );
        };
    })
}

/// A custom section that hosts read without running the component.
fn sdk_section() -> Tokens {
    let json = format!(
        r#"{{"sdk":"rust","version":"{}"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let bytes = proc_macro2::Literal::byte_string(json.as_bytes());
    let length = json.len();
    quote! {
        #[cfg(target_arch = "wasm32")]
        #[used]
        #[unsafe(link_section = "toril:sdk")]
        static SDK: [u8; #length] = *#bytes;
    }
}

fn check_signature(function: &ItemFn) -> Result<(), Error> {
    let signature = &function.sig;
    let wrong = |span, what: &str| Err(Error::new(span, format!("{what}: {SIGNATURE}")));
    if let Some(token) = &signature.asyncness {
        return wrong(
            token.span(),
            "a processor is not async, its host calls simply wait",
        );
    }
    if !signature.generics.params.is_empty() {
        return wrong(
            signature.generics.span(),
            "a processor has no generic parameters",
        );
    }
    match signature.inputs.first() {
        None => return wrong(signature.ident.span(), "a processor takes the job"),
        Some(FnArg::Receiver(receiver)) => {
            return wrong(receiver.span(), "a processor is a free function");
        }
        Some(FnArg::Typed(_)) => {}
    }
    if let Some(second) = signature.inputs.iter().nth(1) {
        return wrong(second.span(), "a processor takes only the job");
    }
    if matches!(signature.output, ReturnType::Default) {
        return wrong(signature.ident.span(), "a processor returns a `Result`");
    }
    Ok(())
}
