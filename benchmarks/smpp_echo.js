// An ESME of npm's smpp that submits what is delivered to it: PORT CONNECTIONS. SMPP_MODULE is where the package is.
const smpp = require(process.env.SMPP_MODULE);

for (let n = 0; n < Number(process.argv[3]); n++) {
  const session = smpp.connect({ url: `smpp://127.0.0.1:${process.argv[2]}` }, () => {
    session.bind_transceiver({ system_id: "them", password: "secret" }, () => {});
  });
  session.on("deliver_sm", (pdu) => {
    session.send(pdu.response());
    session.submit_sm(
      { source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, short_message: pdu.short_message },
      () => {},
    );
  });
  session.on("error", () => process.exit(1));
  session.on("close", () => process.exit(0));
}
