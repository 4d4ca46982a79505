#include "relay/entrance_state.h"

#include <gtest/gtest.h>

#include "unit/relay/client_script.h"
#include "unit/relay/scram_client.h"

namespace weir::relay::entrance_state_test {
namespace {

using namespace std::string_literals;
using State = EntranceState::State;

class EntranceTest : public ::testing::Test {
 protected:
  EntranceTest() {
    access_.rules = Rules::parse(
        "local replication postgres peer\n"
        "local replication all scram-sha-256\n"
        "host replication trusted all trust\n"
        "host replication rejected all reject\n"
        "hostssl replication cert all cert\n"
        "host replication repl,nobody 127.0.0.1/32 scram-sha-256\n",
        "rules");
    access_.users = Users::parse(
        "\"repl\" \"" + ScramClient::secret_of("secret", "0123456789abcdef", 4096) + "\"\n",
        "users");
    peer_.address = net::Ip::parse("127.0.0.1");
  }
  EntranceState entrance() { return {access_, peer_, "server+nonce", false}; }
  /// TLS can be had.
  EntranceState secure_entrance() { return {access_, peer_, "server+nonce", true}; }
  static Encryption encryption() { return {true, false, std::nullopt, "the end point"}; }
  static std::string as(const std::string& user, const std::string& replication = "true") {
    return startup({{"user", user},
                    {"database", "replication"},
                    {"replication", replication},
                    {"application_name", "standby \xe4"}});
  }
  static State give(EntranceState& state, const std::string& bytes) {
    return state.on_bytes(test::as_bytes(bytes));
  }
  static Heard error(EntranceState& state) {
    const auto heard = hear(state.output());
    if (heard.empty() || heard.back().type != 'E') {
      ADD_FAILURE() << "no error";
      return {'E', "\0"};
    }
    return heard.back();
  }
  static std::string initial(const std::string& data,
                             const std::string& mechanism = "SCRAM-SHA-256") {
    std::string body = mechanism + '\0';
    wire::append_u32(body, static_cast<std::uint32_t>(data.size()));
    return say('p', body + data);
  }

  Access access_;
  Peer peer_;
};

TEST_F(EntranceTest, LetsInWhoIsTrusted) {
  auto state = entrance();
  EXPECT_EQ(give(state, as("trusted") + "rest"), State::admitted);
  EXPECT_EQ(state.user(), "trusted");
  EXPECT_EQ(state.application_name(), "standby ?");
  EXPECT_EQ(state.rest(), "rest");
  EXPECT_EQ(state.output(), "");
}

TEST_F(EntranceTest, LetsInWhoKnowsThePasswordWhateverThePieces) {
  for (const std::size_t piece : {1u, 3u, 1000u}) {
    SCOPED_TRACE(piece);
    auto state = entrance();
    ScramClient client("secret");
    const auto give_pieces = [&](const std::string& bytes) {
      for (std::size_t at = 0; at < bytes.size(); at += piece) give(state, bytes.substr(at, piece));
      return hear(state.output());
    };
    auto heard = give_pieces(as("repl"));
    ASSERT_EQ(types(heard), "R");
    EXPECT_EQ(heard[0].body, "\0\0\0\x0aSCRAM-SHA-256\0\0"s);
    heard = give_pieces(initial(client.first()));
    ASSERT_EQ(types(heard), "R");
    heard = give_pieces(say('p', client.last(heard[0].body.substr(4))));
    ASSERT_EQ(types(heard), "R");
    EXPECT_EQ(heard[0].body, "\0\0\0\x0c"s + client.verifier());
    EXPECT_EQ(state.state(), State::admitted);
    EXPECT_FALSE(state.refusal());
  }
}

TEST_F(EntranceTest, TellsNobodyWhetherTheUserOrThePasswordIsWrong) {
  std::vector<std::string> said;
  for (const auto* user : {"repl", "nobody"}) {
    auto state = entrance();
    ScramClient client("wrong");
    give(state, as(user));
    auto heard = hear(state.output());
    give(state, initial(client.first()));
    heard = hear(state.output());
    ASSERT_EQ(types(heard), "R");
    EXPECT_EQ(give(state, say('p', client.last(heard[0].body.substr(4)))), State::left);
    const auto report = error(state);
    EXPECT_EQ(field(report, 'S'), "FATAL");
    EXPECT_EQ(field(report, 'C'), "28P01");
    EXPECT_EQ(field(report, 'M'), "password authentication failed for user \""s + user + "\"");
    said.push_back(*state.refusal());
  }
  EXPECT_NE(said[0], said[1]);  // our own log tells
}

TEST_F(EntranceTest, AUserWithoutAPasswordCannotComeInWithTheSecretOfNobody) {
  // The keys of a made-up secret are zeros: a proof that fits them must not help.
  auto state = entrance();
  ScramClient client("");
  give(state, as("nobody"));
  give(state, initial(client.first()));
  const auto heard = hear(state.output());
  const auto server_first = heard.back().body.substr(4);
  const auto without_proof = "c=biws," + server_first.substr(0, server_first.find(",s="));
  const auto auth = client.bare_ + "," + server_first + "," + without_proof;
  const auto signature = crypto::hmac_sha256(crypto::Sha256{}, auth);
  EXPECT_EQ(give(state, say('p', without_proof + ",p=" + to_base64(signature))), State::left);
  EXPECT_EQ(field(error(state), 'C'), "28P01");
}

TEST_F(EntranceTest, AsksForNothingOverAUnixSocketOfTheSameUser) {
  peer_.address.reset();
  peer_.local_user = "postgres";
  auto same = entrance();
  EXPECT_EQ(give(same, as("postgres")), State::admitted);
  peer_.local_user = "daemon";
  auto other = entrance();
  EXPECT_EQ(give(other, as("postgres")), State::left);
  EXPECT_EQ(field(error(other), 'M'), "Peer authentication failed for user \"postgres\"");
  peer_.local_user.reset();
  auto unknown = entrance();
  EXPECT_EQ(give(unknown, as("postgres")), State::left);
}

TEST_F(EntranceTest, SaysNothingToWhoGoesInsteadOfAPassword) {
  auto state = entrance();
  EXPECT_EQ(give(state, as("repl")), State::open);
  hear(state.output());
  EXPECT_EQ(give(state, say('X', "")), State::left);
  EXPECT_EQ(state.output(), "");
  EXPECT_FALSE(state.refusal()) << "a client that asks for a password first goes in this way";
}

TEST_F(EntranceTest, AsksForTheFirstMessageWhereNoneCameWithTheMechanism) {
  auto state = entrance();
  ScramClient client("secret");
  give(state, as("repl"));
  hear(state.output());
  give(state, say('p', "SCRAM-SHA-256\0\xff\xff\xff\xff"s));
  auto heard = hear(state.output());
  ASSERT_EQ(types(heard), "R");
  EXPECT_EQ(heard[0].body, "\0\0\0\x0b"s) << "AuthenticationSASLContinue, and nothing in it";
  give(state, say('p', client.first()));
  heard = hear(state.output());
  ASSERT_EQ(types(heard), "R");
  give(state, say('p', client.last(heard[0].body.substr(4))));
  EXPECT_EQ(state.state(), State::admitted);
}

TEST_F(EntranceTest, RefusesWithPostgreSQLsWords) {
  const struct {
    const char* name;
    std::string bytes;
    const char* sqlstate;
    const char* message;  ///< its beginning
  } cases[] = {
      {"no user", startup({{"replication", "true"}}), "28000", "no PostgreSQL user name specified"},
      {"no replication", startup({{"user", "repl"}}), "28000", "only physical replication"},
      {"replication=off", as("repl", "off"), "28000", "only physical replication"},
      {"logical", as("repl", "database"), "28000", "only physical replication"},
      {"replication=maybe", as("repl", "maybe"), "22023",
       "invalid value for parameter \"replication\": \"maybe\""},
      {"a rule rejects", as("rejected"), "28000",
       "pg_hba.conf rejects replication connection for host \"127.0.0.1\", user \"rejected\", no "
       "encryption"},
      {"no rule", as("stranger"), "28000",
       "no pg_hba.conf entry for replication connection from host \"127.0.0.1\", user "
       "\"stranger\", no encryption"},
      {"protocol 2", std::string("\0\0\0\x08\0\x02\0\0", 8), "0A000",
       "unsupported frontend protocol 2.0"},
      {"layout", std::string("\0\0\0\x09\0\x03\0\0x", 9), "08P01", "invalid startup packet layout"},
      {"a query instead of a password", as("repl") + query("IDENTIFY_SYSTEM"), "08P01",
       "expected SASL response, got message type 81"},
      {"another mechanism", as("repl") + initial("n,,n=,r=x", "SCRAM-SHA-256-PLUS"), "08P01",
       "client selected an invalid SASL authentication mechanism"},
      {"a plain password", as("repl") + say('p', "secret\0"s), "08P01", "invalid message format"},
      {"a length that is wrong", as("repl") + say('p', "SCRAM-SHA-256\0\0\0\0\x09n,,"s), "08P01",
       "invalid message format"},
      {"a message that is too long", as("repl") + say('p', std::string(1025, 'x')), "08P01",
       "invalid message length"},
      {"SCRAM that is none", as("repl") + initial("x"), "08P01", "malformed SCRAM message"},
      {"TLS twice", request(80877103), "", ""},
      {"data behind the question for TLS", request(80877103) + as("trusted"), "08P01",
       "received unencrypted data after SSL request"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto state = entrance();
    auto now = give(state, each.bytes);
    if (std::string(each.sqlstate).empty()) {
      EXPECT_EQ(now, State::open);
      EXPECT_EQ(state.output(), "N");
      state.output().clear();
      now = give(state, each.bytes);
    } else if (state.output().starts_with('N')) {
      state.output().erase(0, 1);
    }
    EXPECT_EQ(now, State::left);
    const auto report = error(state);
    EXPECT_EQ(field(report, 'S'), "FATAL");
    EXPECT_EQ(field(report, 'C'),
              std::string(each.sqlstate).empty() ? "0A000" : std::string(each.sqlstate));
    EXPECT_TRUE(field(report, 'M').starts_with(each.message)) << field(report, 'M');
    EXPECT_TRUE(state.refusal());
    // Whatever comes now is not looked at.
    EXPECT_EQ(give(state, as("trusted")), State::left);
  }
}

TEST_F(EntranceTest, SaysNothingToWhoMaySpeakAnotherProtocol) {
  for (const auto& bytes : {"GET / HTTP/1.1\r\n\r\n"s, "\x16\x03\x01\x02"s, std::string(8, '\0')}) {
    auto state = entrance();
    EXPECT_EQ(give(state, bytes), State::left);
    EXPECT_EQ(state.output(), "");
  }
}

TEST_F(EntranceTest, GoesOnWithoutEncryptionAndWithAnOlderProtocol) {
  auto state = entrance();
  EXPECT_EQ(give(state, request(80877104)), State::open);
  EXPECT_EQ(state.output(), "N");
  EXPECT_EQ(give(state, request(80877103)), State::open);
  EXPECT_EQ(state.output(), "NN");
  state.output().clear();
  const auto newer = startup({{"user", "trusted"}, {"replication", "1"}, {"_pq_.x", "1"}},
                             wire::kProtocolVersion + 2);
  EXPECT_EQ(give(state, newer), State::admitted);
  const auto heard = hear(state.output());
  ASSERT_EQ(types(heard), "v");
  EXPECT_EQ(heard[0].body, "\0\x03\0\0\0\0\0\x01_pq_.x\0"s);
}

TEST_F(EntranceTest, GoesOnUnderTlsThatWasAskedFor) {
  auto state = secure_entrance();
  EXPECT_EQ(give(state, request(80877103)), State::encrypts);
  EXPECT_EQ(state.output(), "S");
  EXPECT_EQ(state.rest(), "");
  state.output().clear();
  // What comes before the handshake is done is TLS's, never this one's.
  EXPECT_EQ(give(state, as("trusted")), State::encrypts);
  EXPECT_EQ(state.on_encrypted({}), State::open);  // an old client names no protocol
  EXPECT_EQ(state.rest(), "");
  EXPECT_TRUE(state.peer().encrypted);
  EXPECT_EQ(give(state, as("trusted")), State::admitted);
}

TEST_F(EntranceTest, NothingThatCameInPlainTextIsTakenForEncrypted) {
  // Whoever sits in between writes behind the question what the server is to hear afterwards
  // (CVE-2021-23214).
  for (const auto& behind : {as("trusted"), std::string(1, '\0'), "\x16\x03\x01"s}) {
    auto state = secure_entrance();
    EXPECT_EQ(give(state, request(80877103) + behind), State::left);
    EXPECT_EQ(field(error(state), 'M'), "received unencrypted data after SSL request");
    EXPECT_FALSE(state.peer().encrypted);
  }
}

TEST_F(EntranceTest, TakesTlsFromTheFirstByteOn) {
  for (const bool named : {true, false}) {
    auto state = secure_entrance();
    EXPECT_EQ(give(state, "\x16\x03\x01"s), State::encrypts);
    EXPECT_EQ(state.rest(), "\x16\x03\x01"s);
    EXPECT_EQ(state.output(), "");
    auto direct = encryption();
    direct.protocol_named = named;
    EXPECT_EQ(state.on_encrypted(direct), named ? State::open : State::left);
    if (named) {
      EXPECT_EQ(give(state, as("trusted")), State::admitted);
    } else {
      EXPECT_EQ(state.output(), "");
      EXPECT_NE(state.refusal()->find("without ALPN"), std::string::npos);
    }
  }
  // Only there.
  auto late = secure_entrance();
  give(late, request(80877104));
  late.output().clear();
  EXPECT_EQ(give(late, "\x16\x03\x01\x02"s), State::left);
}

TEST_F(EntranceTest, InsideOfTlsNoOtherEncryptionIsAskedFor) {
  for (const bool direct : {false, true}) {
    for (const auto code : {80877103u, 80877104u}) {
      SCOPED_TRACE(std::to_string(direct) + " " + std::to_string(code));
      auto state = secure_entrance();
      give(state, direct ? "\x16"s : request(80877103));
      state.on_encrypted(encryption());
      state.output().clear();
      EXPECT_EQ(give(state, request(code)), State::left);
      EXPECT_EQ(field(error(state), 'C'), "0A000");
    }
  }
}

TEST_F(EntranceTest, OffersToBindThePasswordToTheCertificate) {
  auto state = secure_entrance();
  give(state, request(80877103));
  state.on_encrypted(encryption());
  state.output().clear();
  ScramClient client("secret", "p=tls-server-end-point,,");
  client.binding_ = "the end point";
  give(state, as("repl"));
  auto heard = hear(state.output());
  ASSERT_EQ(types(heard), "R");
  EXPECT_EQ(heard[0].body, "\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s);
  give(state, initial(client.first(), "SCRAM-SHA-256-PLUS"));
  heard = hear(state.output());
  ASSERT_EQ(types(heard), "R");
  EXPECT_EQ(give(state, say('p', client.last(heard[0].body.substr(4)))), State::admitted);

  // A client that does not want to comes in as well, one to whom the offer did not get does not.
  for (const auto& [head, sqlstate] : {std::pair("n,,", ""), std::pair("y,,", "28000")}) {
    auto other = secure_entrance();
    give(other, request(80877103));
    other.on_encrypted(encryption());
    give(other, as("repl"));
    other.output().clear();
    give(other, initial(ScramClient("secret", head).first()));
    EXPECT_EQ(other.state(), std::string(sqlstate).empty() ? State::open : State::left);
    if (!std::string(sqlstate).empty()) {
      EXPECT_EQ(field(error(other), 'C'), sqlstate);
    }
  }
}

TEST_F(EntranceTest, ACertificateIsItsNamesAndNobodyElses) {
  const struct {
    const char* name;
    bool certificate;
    std::optional<std::string> common_name;
    const char* message;  ///< empty: it comes in
  } cases[] = {
      {"its own", true, "cert", ""},
      {"of somebody else", true, "repl", "certificate authentication failed for user \"cert\""},
      {"in other letters", true, "Cert", "certificate authentication failed for user \"cert\""},
      {"without a name", true, std::nullopt, "certificate authentication failed for user \"cert\""},
      {"none", false, std::nullopt, "connection requires a valid client certificate"},
      {"one that is not valid", false, "cert", "connection requires a valid client certificate"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto state = secure_entrance();
    give(state, request(80877103));
    auto shown = encryption();
    shown.certificate = each.certificate;
    shown.common_name = each.common_name;
    state.on_encrypted(shown);
    state.output().clear();
    const auto now = give(state, as("cert"));
    EXPECT_EQ(now, std::string(each.message).empty() ? State::admitted : State::left);
    if (now == State::left) {
      const auto report = error(state);
      EXPECT_EQ(field(report, 'C'), "28000");
      EXPECT_EQ(field(report, 'M'), each.message);
    }
  }
  auto plain = secure_entrance();
  EXPECT_EQ(give(plain, as("cert")), State::left);
  EXPECT_NE(field(error(plain), 'M').find("no pg_hba.conf entry"), std::string::npos);
}

TEST_F(EntranceTest, KeepsNoMoreThanAStartupPacket) {
  auto state = entrance();
  std::string head;
  wire::append_u32(head, wire::kMaxStartupPacket + 5);
  EXPECT_EQ(give(state, head), State::left);

  auto cancelled = entrance();
  EXPECT_EQ(give(cancelled, "\0\0\0\x10\x04\xd2\x16\x2e"s + std::string(8, 'x')), State::left);
  EXPECT_FALSE(cancelled.refusal());
}

}  // namespace
}  // namespace weir::relay::entrance_state_test
