// The relay's files of rules and users, and the commands of a walsender: read, or refused with a
// line or in PostgreSQL's words.

#include "fuzz.h"
#include "relay/command.h"
#include "relay/rules.h"
#include "relay/users.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  const auto which = fuzz::take(input) % 3;
  // A copy of exactly this size: the address sanitizer sees a byte too far.
  const auto text = test::text_of(input);
  if (which == 0) {
    const auto parsed = relay::parse_command(text);
    if (const auto* report = std::get_if<wire::ErrorReport>(&parsed))
      PGWEIR_CHECK(report->sqlstate == "42601" && !report->message.empty());
    return 0;
  }
  try {
    if (which == 1) {
      const auto rules = relay::Rules::parse(text, "file");
      relay::Peer peer;
      peer.address = net::Ip::parse("192.0.2.7");
      static_cast<void>(rules.find(peer, "repl", {}));
    } else {
      static_cast<void>(relay::Users::parse(text, "file"));
    }
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::usage);
    PGWEIR_CHECK(error.context().find("line") != std::string::npos);
  }
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  const auto add = [&](char which, const std::string& text) {
    inputs.push_back(test::bytes_of(std::string(1, which) + text));
  };
  for (const auto* text :
       {"START_REPLICATION SLOT \"a\" PHYSICAL 1/2 TIMELINE 3;",
        "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL p (SNAPSHOT 'x', two_phase)",
        "BASE_BACKUP (LABEL 'a''b', WAIT 0)", "READ_REPLICATION_SLOT a.b", "SELECT 1"})
    add(3, text);
  add(1,
      "# comment\nlocal replication all peer\nhost replication \"a b\",c 10.0.0.0/8 trust # x\n"
      "host replication all \\\n samenet scram-sha-256\nhostnossl replication x ::1 ffff:: "
      "reject\n");
  add(2,
      "\"repl\" \"SCRAM-SHA-256$4096:YWJjZGVmZ2hpamtsbW5vcA==$"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
      "\"\n");
  return inputs;
}
