#include "wire/backend_messages.h"

#include <gtest/gtest.h>

#include <array>

namespace weir::wire::backend_messages_test {
namespace {

using namespace std::string_literals;

template <typename Append>
std::string message(Append append) {
  std::string out = "before";
  append(out);
  EXPECT_EQ(out.substr(0, 6), "before");
  return out.substr(6);
}

TEST(BackendMessages, AreAsTheDocumentationHasThem) {
  const std::array<std::string_view, 2> mechanisms = {"ONE", "TWO"};
  const struct {
    const char* name;
    std::string got;
    std::string expected;
  } cases[] = {
      {"AuthenticationOk", message([](auto& out) { append_authentication_ok(out); }),
       "R\0\0\0\x08\0\0\0\0"s},
      {"AuthenticationSASL", message([&](auto& out) { append_sasl_mechanisms(out, mechanisms); }),
       "R\0\0\0\x11\0\0\0\x0aONE\0TWO\0\0"s},
      {"AuthenticationSASLContinue", message([](auto& out) { append_sasl_continue(out, "r=x"); }),
       "R\0\0\0\x0b\0\0\0\x0br=x"s},
      {"AuthenticationSASLFinal", message([](auto& out) { append_sasl_final(out, "v=y"); }),
       "R\0\0\0\x0b\0\0\0\x0cv=y"s},
      {"NegotiateProtocolVersion",
       message([](auto& out) { append_negotiate_version(out, 3 << 16, {"_pq_.a"}); }),
       "v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.a\0"s},
      {"ParameterStatus", message([](auto& out) { append_parameter_status(out, "a", "bc"); }),
       "S\0\0\0\x09"
       "a\0bc\0"s},
      {"BackendKeyData", message([](auto& out) { append_backend_key(out, 1, 2); }),
       "K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"s},
      {"ReadyForQuery", message([](auto& out) { append_ready(out); }), "Z\0\0\0\x05I"s},
      {"CommandComplete", message([](auto& out) { append_command_complete(out, "COPY 0"); }),
       "C\0\0\0\x0b"
       "COPY 0\0"s},
      {"CopyBothResponse", message([](auto& out) { append_copy_both(out); }), "W\0\0\0\x07\0\0\0"s},
      {"CopyDone", message([](auto& out) { append_copy_done(out); }), "c\0\0\0\x04"s},
      {"CopyData", message([](auto& out) { append_copy_data(out, "xyz"); }), "d\0\0\0\x07xyz"s},
      {"CopyData's head", message([](auto& out) { append_copy_data_head(out, 3); }),
       "d\0\0\0\x07"s},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(each.got, each.expected);
  }
}

TEST(BackendMessages, ARowHasTextsAndNulls) {
  const std::array columns = {text_column("a"), int4_column("b"), int8_column("c")};
  EXPECT_EQ(message([&](auto& out) { append_row_description(out, columns); }),
            "T\0\0\0\x42\0\x03"
            "a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"
            "b\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"
            "c\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0"s);
  const std::array<std::optional<std::string>, 3> values = {"xy", std::nullopt, ""};
  EXPECT_EQ(message([&](auto& out) { append_data_row(out, values); }),
            "D\0\0\0\x14\0\x03\0\0\0\x02xy\xff\xff\xff\xff\0\0\0\0"s);
}

TEST(BackendMessages, AnErrorHasWhatThereIs) {
  EXPECT_EQ(message([](auto& out) {
              append_error(out, Severity::error, {"42704", "gone", "detail", "hint"});
            }),
            "E\0\0\0\x2e"
            "SERROR\0VERROR\0C42704\0Mgone\0Ddetail\0Hhint\0\0"s);
  EXPECT_EQ(message([](auto& out) {
              append_error(out, Severity::fatal, {"28000", "no"});
            }),
            "E\0\0\0\x1e"
            "SFATAL\0VFATAL\0C28000\0Mno\0\0"s);
}

TEST(BackendMessages, NoTextEndsAnothersField) {
  const auto out = message([](auto& to) {
    append_error(to, Severity::error, {"42704", "a\0Cfalse"s});
  });
  EXPECT_NE(out.find("Ma\0"s), std::string::npos);
  EXPECT_EQ(out.find("false"), std::string::npos);
}

}  // namespace
}  // namespace weir::wire::backend_messages_test
