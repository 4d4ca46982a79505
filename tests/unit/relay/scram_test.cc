#include "relay/scram.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "relay/users.h"
#include "support/error_of.h"
#include "unit/relay/scram_client.h"

namespace weir::relay::scram_test {
namespace {

using namespace std::string_literals;

ScramSecret secret_of(const std::string& password) {
  return *ScramSecret::parse(ScramClient::secret_of(password, "0123456789abcdef", 4096));
}

template <typename Kind>
Kind must(ScramExchange::Answer answer) {
  if (const auto* report = std::get_if<wire::ErrorReport>(&answer))
    ADD_FAILURE() << report->message << ": " << report->detail;
  return std::get<Kind>(std::move(answer));
}

TEST(Scram, GoesAsInTheRfc) {
  // RFC 7677, 3. Example
  const auto salt = *from_base64("W22ZaJ0SNY7soEsUEjb6gQ==");
  ScramExchange exchange(*ScramSecret::parse(ScramClient::secret_of("pencil", salt, 4096)), false,
                         "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
  EXPECT_EQ(
      must<ScramExchange::Challenge>(exchange.on_message("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")).data,
      "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
      "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  EXPECT_EQ(must<ScramExchange::Proved>(
                exchange.on_message("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
                .data,
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST(Scram, LetsInWhoKnowsThePasswordAndNobodyElse) {
  const struct {
    const char* name;
    const char* password;
    bool doomed;
    bool let_in;
  } cases[] = {
      {"right", "secret", false, true},
      {"wrong", "Secret", false, false},
      {"empty", "", false, false},
      {"right, of a user who must not", "secret", true, false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ScramExchange exchange(secret_of("secret"), each.doomed, "server+nonce");
    ScramClient client(each.password);
    const auto challenge = must<ScramExchange::Challenge>(exchange.on_message(client.first()));
    const auto answer = exchange.on_message(client.last(challenge.data));
    if (each.let_in) {
      EXPECT_EQ(must<ScramExchange::Proved>(answer).data, client.verifier());
    } else {
      EXPECT_TRUE(std::holds_alternative<ScramExchange::Refused>(answer));
    }
    EXPECT_TRUE(std::holds_alternative<wire::ErrorReport>(exchange.on_message("again")));
  }
}

TEST(Scram, IsBoundToTheChannelItGoesOver) {
  const std::string head = "p=tls-server-end-point,,";
  const struct {
    const char* name;
    std::string seen;  ///< the end point that the client sees
    bool let_in;
  } cases[] = {
      {"the same", std::string("\x01\0\xff", 3), true},
      {"somebody in between has a certificate of his own", std::string("\x01\0\xfe", 3), false},
      {"nothing", "", false},
      {"more", std::string("\x01\0\xff\0", 4), false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ScramExchange exchange(secret_of("secret"), false, "server+nonce",
                           std::string("\x01\0\xff", 3));
    ASSERT_TRUE(exchange.can_bind());
    exchange.bind();
    ScramClient client("secret", head);
    client.binding_ = each.seen;
    const auto challenge = must<ScramExchange::Challenge>(exchange.on_message(client.first()));
    const auto answer = exchange.on_message(client.last(challenge.data));
    if (each.let_in) {
      EXPECT_EQ(must<ScramExchange::Proved>(answer).data, client.verifier());
      continue;
    }
    const auto* report = std::get_if<wire::ErrorReport>(&answer);
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report->sqlstate, "28000");
    EXPECT_EQ(report->message, "SCRAM channel binding check failed");
  }
}

TEST(Scram, NobodyCanTakeTheBindingAway) {
  const struct {
    const char* name;
    bool offered;
    bool chosen;
    const char* head;
    const char* sqlstate;  ///< empty: it goes on
  } cases[] = {
      {"the client cannot, or does not want to", true, false, "n,,", ""},
      {"the client was told that the server cannot", true, false, "y,,", "28000"},
      {"the server cannot", false, false, "y,,", ""},
      {"chosen, then not done", true, true, "n,,", "08P01"},
      {"chosen, then not done, as if not offered", true, true, "y,,", "08P01"},
      {"done without having been chosen", true, false, "p=tls-server-end-point,,", "08P01"},
      {"another kind of it", true, true, "p=tls-unique,,", "08P01"},
      {"chosen and done", true, true, "p=tls-server-end-point,,", ""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ScramExchange exchange(secret_of("secret"), false, "server",
                           each.offered ? std::optional<std::string>("hash") : std::nullopt);
    if (each.chosen) exchange.bind();
    const auto answer = exchange.on_message(ScramClient("secret", each.head).first());
    const auto* report = std::get_if<wire::ErrorReport>(&answer);
    EXPECT_EQ(report == nullptr ? std::string() : report->sqlstate, each.sqlstate);
  }
}

TEST(Scram, AnyChangedBitOfAProofIsRefused) {
  ScramClient client("secret");
  for (std::size_t bit = 0; bit < 256; ++bit) {
    ScramExchange exchange(secret_of("secret"), false, "server+nonce");
    auto last =
        client.last(must<ScramExchange::Challenge>(exchange.on_message(client.first())).data);
    const auto at = last.find(",p=") + 3;
    auto proof = *from_base64(last.substr(at));
    proof[bit / 8] = static_cast<char>(proof[bit / 8] ^ 1 << bit % 8);
    last = last.substr(0, at) + to_base64(test::as_bytes(proof));
    ASSERT_TRUE(std::holds_alternative<ScramExchange::Refused>(exchange.on_message(last)));
  }
}

TEST(Scram, RefusesMessagesThatCannotBe) {
  const struct {
    const char* name;
    std::string first;
    std::string last;  ///< empty: the first is refused already
    const char* sqlstate;
  } cases[] = {
      {"empty", "", "", "08P01"},
      {"a zero byte", "n,,n=,r=x\0"s, "", "08P01"},
      {"binding to a channel", "p=tls-server-end-point,,n=,r=x", "", "08P01"},
      {"unknown flag", "q,,n=,r=x", "", "08P01"},
      {"no comma behind the flag", "nn,n=,r=x", "", "08P01"},
      {"somebody else's authority", "n,a=admin,n=,r=x", "", "0A000"},
      {"an extension that must be", "n,,m=1,n=,r=x", "", "0A000"},
      {"no name", "n,,r=x", "", "08P01"},
      {"no nonce", "n,,n=", "", "08P01"},
      {"no equals sign", "n,,n,r=x", "", "08P01"},
      {"a nonce with a blank", "n,,n=,r=x y", "", "08P01"},
      {"rubbish behind", "n,,n=,r=x,1=", "", "08P01"},
      {"another binding in the end", "n,,n=,r=x", "c=eSws,r=xserver,p=AAAA", "08P01"},
      {"another nonce", "n,,n=,r=x", "c=biws,r=xother,p=" + std::string(43, 'A') + "=", "08P01"},
      {"the client's nonce alone", "n,,n=,r=x", "c=biws,r=x,p=" + std::string(43, 'A') + "=",
       "08P01"},
      {"a proof that is too short", "n,,n=,r=x", "c=biws,r=xserver,p=AAAA", "08P01"},
      {"no proof", "n,,n=,r=x", "c=biws,r=xserver", "08P01"},
      {"something behind the proof", "n,,n=,r=x",
       "c=biws,r=xserver,p=" + std::string(43, 'A') + "=,x=1", "08P01"},
      {"the first message again", "n,,n=,r=x", "n,,n=,r=x", "08P01"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ScramExchange exchange(secret_of("secret"), false, "server");
    auto answer = exchange.on_message(each.first);
    if (!each.last.empty()) {
      must<ScramExchange::Challenge>(answer);
      answer = exchange.on_message(each.last);
    }
    const auto* report = std::get_if<wire::ErrorReport>(&answer);
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report->sqlstate, each.sqlstate);
  }
}

TEST(Users, AreReadAsPostgreSQLKeepsThem) {
  const auto secret = ScramClient::secret_of("one", "0123456789abcdef", 4096);
  const auto users =
      Users::parse("# who may come\n\"repl\"  \"" + secret + "\"\n\n\"a \"\"b\"\"\" \"" +
                       ScramClient::secret_of("two", "salt", 10) + "\" # else\n",
                   "users");
  EXPECT_EQ(users.size(), 2u);
  ASSERT_NE(users.find("repl"), nullptr);
  EXPECT_EQ(*users.find("repl"), *ScramSecret::parse(secret));
  ASSERT_NE(users.find("a \"b\""), nullptr);
  EXPECT_EQ(users.find("a \"b\"")->iterations, 10u);
  EXPECT_EQ(users.find("Repl"), nullptr);
  EXPECT_EQ(users.find(""), nullptr);
}

TEST(Users, WhatIsWrongIsToldWithItsLineAndNotTheSecret) {
  const auto good =
      "\"repl\" \"" + ScramClient::secret_of("one", "0123456789abcdef", 4096) + "\"\n";
  const struct {
    const char* name;
    std::string line;
  } cases[] = {
      {"a name alone", "\"repl2\""},
      {"three fields", "\"repl2\" \"SCRAM-SHA-256$1:YQ==$x:y\" more"},
      {"a password", "\"repl2\" \"hunter2\""},
      {"md5", "\"repl2\" \"md5a3556571e93b0d20722ba62be61e8c2d\""},
      {"a secret that is cut", good.substr(0, 60)},
      {"a key that is too short", "\"repl2\" \"SCRAM-SHA-256$4096:YQ==$YQ==:YQ==\""},
      {"colons and no dollar", "\"repl2\" \"a:b:c\""},
      {"a dollar too few", "\"repl2\" \"SCRAM-SHA-256:4096$YQ==:x:y\""},
      {"an empty name", "\"\"" + good.substr(6)},
      {"the same user again", good},
      {"a list", "\"repl2\",\"repl3\" \"x\""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const auto error =
        test::error_of([&] { static_cast<void>(Users::parse(good + each.line, "/etc/users")); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string what = error.what();
    EXPECT_NE(what.find("line 2"), std::string::npos) << what;
    EXPECT_NE(what.find("/etc/users"), std::string::npos) << what;
    EXPECT_EQ(what.find("hunter2"), std::string::npos) << what;
  }
}

TEST(Users, WhoIsNotThereLooksLikeSomebodyWhoIs) {
  const auto users = Users::parse(
      "\"repl\" \"" + ScramClient::secret_of("one", "0123456789abcdef", 5000) + "\"\n", "users");
  const auto one = users.made_up("nobody");
  EXPECT_EQ(one, users.made_up("nobody"));
  EXPECT_NE(one.salt, users.made_up("nobody2").salt);
  EXPECT_EQ(one.iterations, 5000u);
  EXPECT_EQ(one.salt.size(), users.find("repl")->salt.size());
}

}  // namespace
}  // namespace weir::relay::scram_test
