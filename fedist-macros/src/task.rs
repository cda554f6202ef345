//! `#[task]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, spanned::Spanned};

use crate::message::WireNames;

pub(crate) fn expand(attributes: TokenStream, item: &ItemFn) -> Result<TokenStream> {
    let WireNames { name: wire_name, version, root } = WireNames::from_tokens(attributes)?;
    let signature = &item.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(signature.span(), "a task is an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "a task takes no generic parameters: its name stands for one function",
        ));
    }
    let mut inputs = signature.inputs.iter();
    let (Some(FnArg::Typed(cx)), Some(FnArg::Typed(input)), None) =
        (inputs.next(), inputs.next(), inputs.next())
    else {
        return Err(Error::new(
            signature.inputs.span(),
            "a task is `async fn(cx: TaskCx, input: I) -> O`: exactly two parameters; use a tuple for more input",
        ));
    };
    let output = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let (cx_pat, cx_ty) = (&cx.pat, &cx.ty);
    let (in_pat, in_ty) = (&input.pat, &input.ty);
    let (attrs, vis, ident, block) = (&item.attrs, &item.vis, &signature.ident, &item.block);
    Ok(quote! {
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident;

        impl #root::Task for #ident {
            type Input = #in_ty;
            type Output = #output;
            const NAME: &'static str = #wire_name;
            const VERSION: u16 = #version;
            async fn run(#cx_pat: #cx_ty, #in_pat: #in_ty) -> #output #block
        }
    })
}
