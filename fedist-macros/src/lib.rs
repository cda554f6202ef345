//! Derive and attribute macros of FeDist. Use them through the `fedist` facade.

mod async_handler;
mod message;
mod task;

use proc_macro::TokenStream;

/// Makes a type an actix message and, with `#[wire(..)]`, one that crosses regions.
///
/// `#[rtype(result = "T")]` (or `#[rtype(T)]`) names the type of the answer; without it the answer is `()`.
/// `#[wire(name = "chat.post", version = 1)]` gives the stable name and version under which
/// other regions know the type; `version` defaults to 1. Without `#[wire]` only
/// `actix::Message` is implemented and the type stays local.
///
/// A name is 1 to 96 characters of `[a-z0-9_.-]`; anything else is a compile error.
#[proc_macro_derive(Message, attributes(rtype, wire))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    message::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an `async fn(cx: TaskCx, input: I) -> O` a task that other regions may be allowed to start.
///
/// The function becomes a unit value of the same name that implements `Task`, to be listed
/// on the node that runs it (`NodeBuilder::task`) and named by the one that starts it
/// (`node.tasks().at(region).start(count, input)`). `I` and `O` must be serialisable. A task
/// takes one input; use a tuple for more.
#[proc_macro_attribute]
pub fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::ItemFn);
    task::expand(attributes.into(), &item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets actix's addresses know of an asynchronous handler: goes on
/// `impl AsyncHandler<M> for A` and adds the `Handler<M>` that hands the message on to it.
#[proc_macro_attribute]
pub fn async_handler(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::ItemImpl);
    async_handler::expand(attributes.into(), &item)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
