// A carrier's SMSC, made of npm's smpp: prints each message that it gets as a line of JSON, and carries out lines of JSON.
// SMPP_MODULE is where the package is installed. {"from", "to", "text"} delivers, with "udh" (hex) a
// part of a long one; {"receipt", "state"} reports; {"refuse": status} answers the next message so.
const smpp = require(process.env.SMPP_MODULE);
const readline = require("readline");

const sessions = new Set();
const refusals = [];
let count = 0;

function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

const server = smpp.createServer((session) => {
  session.on("error", () => {});
  for (const bind of ["bind_transceiver", "bind_receiver", "bind_transmitter"]) {
    session.on(bind, (pdu) => {
      session.send(pdu.response());
      sessions.add(session);
      say({ bound: pdu.system_id, as: bind });
    });
  }
  session.on("close", () => sessions.delete(session));
  session.on("unbind", (pdu) => session.send(pdu.response()));
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("submit_sm", (pdu) => {
    const status = refusals.shift() || 0;
    const id = "a" + (++count).toString().padStart(4, "0");
    const part = pdu.short_message;
    say({
      from: pdu.source_addr,
      to: pdu.destination_addr,
      coding: pdu.data_coding,
      text: (part && part.message) || (pdu.message_payload && (pdu.message_payload.message || pdu.message_payload)) || "",
      udh: part && part.udh ? Buffer.concat(part.udh.map((one) => Buffer.from(one))).toString("hex") : "",
      sar: pdu.sar_segment_seqnum || 0,
      receipt: pdu.registered_delivery,
      id,
      status,
    });
    session.send(pdu.response(status ? { command_status: status } : { message_id: id }));
  });
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const told = JSON.parse(line);
  if (told.refuse) {
    refusals.push(told.refuse);
    return;
  }
  const session = [...sessions].pop();
  const about = { source_addr_ton: 1, source_addr_npi: 1, dest_addr_ton: 1, dest_addr_npi: 1 };
  if (told.receipt) {
    const text = `id:${told.receipt} sub:001 dlvrd:001 submit date:2611292100 done date:2611292100 stat:${told.state} err:000 text:`;
    session.deliver_sm(
      { ...about, source_addr: told.from, destination_addr: told.to, esm_class: 4, short_message: text },
      (pdu) => say({ answered: pdu.command_status }),
    );
    return;
  }
  const text = told.udh ? { udh: Buffer.from(told.udh, "hex"), message: told.text } : told.text;
  session.deliver_sm(
    { ...about, source_addr: told.from, destination_addr: told.to, esm_class: told.udh ? 0x40 : 0, [told.payload ? "message_payload" : "short_message"]: text },
    (pdu) => say({ answered: pdu.command_status }),
  );
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => say({ listening: true }));
