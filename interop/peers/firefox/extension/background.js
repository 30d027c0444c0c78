// Only a blocking listener may ask for it.
browser.webRequest.onHeadersReceived.addListener(
    async ({ requestId }) => {
        const { cipherSuite, keaGroupName } = await browser.webRequest.getSecurityInfo(requestId, {});
        console.log(`peer suite=${cipherSuite} group=${keaGroupName}.`);
        return {};
    },
    { urls: ["https://*/*"] },
    ["blocking"],
);
// A page that gets there knows that this runs.
browser.webRequest.onBeforeRequest.addListener(() => ({ redirectUrl: "data:," }), { urls: ["https://extension.invalid/*"] }, ["blocking"]);
