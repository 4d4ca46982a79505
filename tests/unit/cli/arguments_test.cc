#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/exit_status.h"
#include "cli/password.h"
#include "cli/suggest.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;

const Option kOptions[] = {{"slot", 'S'},
                           {"compress", 'Z'},
                           {"flush"},
                           {"no-loop", 'n', false},
                           {"config", 'c', true, false}};

std::string complaint(const std::vector<std::string>& words, std::string_view file = "") {
  try {
    auto arguments = Arguments::parse(kOptions, words);
    if (!file.empty()) arguments.add_file("weir.conf", file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return std::string(error.what()) + " | " + error.hint();
  }
  return "";
}

TEST(Arguments, ReadsAllWaysToWriteAnOption) {
  const std::vector<std::vector<std::string>> ways = {
      {"--slot", "weir"}, {"--slot=weir"}, {"-S", "weir"}, {"-Sweir"}, {"-n", "-S", "weir"}};
  for (const auto& words : ways) {
    SCOPED_TRACE(words.front());
    const auto arguments = Arguments::parse(kOptions, words);
    EXPECT_EQ(arguments.value("slot"), "weir");
    EXPECT_TRUE(arguments.on_command_line("slot"));
    EXPECT_FALSE(arguments.has("compress"));
  }
}

TEST(Arguments, RefusesWhatIsWrongOnTheCommandLine) {
  struct Case {
    const char* name;
    std::vector<std::string> words;
    const char* complaint;
  };
  const Case cases[] = {
      {"unknown", {"--compres", "x"}, "unknown option --compres | Did you mean --compress?"},
      {"unknown letter", {"-X"}, "unknown option -X"},
      {"an abbreviation", {"--comp", "x"}, "Did you mean --compress?"},
      {"nothing like it", {"--frobnicate"}, "unknown option --frobnicate | "},
      {"twice", {"-S", "a", "--slot", "b"}, "option --slot is given more than once"},
      {"a switch twice", {"-n", "-n"}, "option --no-loop is given more than once"},
      {"no value", {"--slot"}, "option --slot needs a value"},
      {"an empty value", {"--slot="}, "option --slot needs a value"},
      {"an empty word", {"--slot", ""}, "option --slot needs a value"},
      {"a value for a switch", {"--no-loop=1"}, "option --no-loop takes no value"},
      {"a stray word", {"weir"}, "unexpected argument \"weir\""},
      {"a stray password", {"password=secret"}, "unexpected argument \"password=******\""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_THAT(complaint(each.words), HasSubstr(each.complaint));
  }
}

TEST(Arguments, LetsTheCommandLineWinOverTheFile) {
  auto arguments = Arguments::parse(kOptions, {"-S", "mine"});
  arguments.add_file(
      "weir.conf", "# a comment\n\n  slot = theirs\r\ncompress=zstd:3\n; another\nno-loop = on\n");
  EXPECT_EQ(arguments.value("slot"), "mine");
  EXPECT_EQ(arguments.value("compress"), "zstd:3");
  EXPECT_TRUE(arguments.has("no-loop"));
  EXPECT_EQ(arguments.source("slot"), "--slot");
  EXPECT_EQ(arguments.source("compress"), "\"compress\" in weir.conf, line 4");
}

TEST(Arguments, LeavesOutASwitchThatIsOff) {
  auto arguments = Arguments::parse(kOptions, {});
  arguments.add_file("weir.conf", "no-loop = off");
  EXPECT_FALSE(arguments.has("no-loop"));
}

TEST(Arguments, RefusesWhatIsWrongInTheFileWithItsLine) {
  struct Case {
    const char* name;
    const char* file;
    const char* complaint;
  };
  const Case cases[] = {
      {"unknown", "\nslto = x\n",
       "unknown setting \"slto\" (file weir.conf, line 2) | Did you mean slot?"},
      {"for the command line", "config = x", "--config is for the command line only"},
      {"a section", "[receive]", "sections are not known"},
      {"no equals sign", "slot weir", "line without \"=\": \"slot weir\""},
      {"a password in it", "postgres://u:secret@h", "\"postgres://u:******@h\""},
      {"a password file", "*:*:*:repl:secret", "not of a configuration (file weir.conf, line 1)"},
      {"no value", "slot =", "setting \"slot\" has no value"},
      {"twice", "slot = a\n\nslot = b", "more than once (file weir.conf, line 3, first in line 1)"},
      {"no switch's value", "no-loop = maybe", "wrong value \"maybe\" of the switch \"no-loop\""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_THAT(complaint({}, each.file), HasSubstr(each.complaint));
  }
}

TEST(Suggestion, IsTheNearestNameOrNone) {
  const std::string_view names[] = {"receive", "status", "slot", "help", "create-slot"};
  struct Case {
    std::string_view word;
    std::optional<std::string_view> name;
  };
  const Case cases[] = {
      {"recieve", "receive"},    {"receiv", "receive"},
      {"stats", "status"},       {"slt", "slot"},
      {"create", "create-slot"}, {"s", std::nullopt},
      {"", std::nullopt},        {"xyz", std::nullopt},
      {"verify", std::nullopt},  {std::string_view("help"), "help"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.word);
    EXPECT_EQ(nearest(each.word, names), each.name);
  }
}

TEST(Password, IsMaskedWhereverLibpqReadsOne) {
  struct Case {
    const char* text;
    const char* masked;
  };
  const Case cases[] = {
      {"host=a password=geheim dbname=b", "host=a password=****** dbname=b"},
      {"password = geheim", "password = ******"},
      {"password='ge heim' host=a", "password='*******' host=a"},
      {"password='it\\'s' host=a", "password='*****' host=a"},
      {"password=a\\ b host=c", "password=**** host=c"},
      {"sslpassword=geheim", "sslpassword=******"},
      {"--dbname=host=a password=x", "--dbname=host=a password=*"},
      {"postgresql://u:geheim@h/d", "postgresql://u:******@h/d"},
      {"postgres://u@h/d?password=geheim&x=y", "postgres://u@h/d?password=******&x=y"},
      {"postgresql://h:5432/d", "postgresql://h:5432/d"},
      {"host=a passfile=/b", "host=a passfile=/b"},
      {"password", "password"},
      {"password=", "password="},
      {"--no-password", "--no-password"},
      {"", ""},
  };
  for (const auto& each : cases) EXPECT_EQ(masked(each.text), each.masked);
}

TEST(Password, IsMaskedInAUriBehindAnOption) {
  EXPECT_EQ(masked("--dbname=postgresql://u:geheim@h/d"), "--dbname=postgresql://u:******@h/d");
  EXPECT_EQ(masked("-dpostgresql://u:geheim@h/d"), "-dpostgresql://u:******@h/d");
}

TEST(ExitStatus, TellsAServiceWhetherToTryAgain) {
  struct Case {
    ErrorKind kind;
    int status;
  };
  const Case cases[] = {{ErrorKind::usage, 2},      {ErrorKind::retry, 3},
                        {ErrorKind::disk_full, 3},  {ErrorKind::io, 4},
                        {ErrorKind::durability, 4}, {ErrorKind::conflict, 4},
                        {ErrorKind::gap, 4},        {ErrorKind::damage, 4},
                        {ErrorKind::protocol, 4},   {ErrorKind::refused, 4}};
  for (const auto& each : cases)
    EXPECT_EQ(exit_status(each.kind), each.status) << to_string(each.kind);
}

// --- A file that all commands share

const std::vector<CommandOptions> kCommands = {
    {"receive", {{"directory", 'D'}, {"slot", 'S'}, {"flush"}, {"no-loop", 'n', false}}},
    {"verify", {{"directory", 'D'}, {"jobs", 'j'}, {"json", '\0', false}}},
};

Arguments shared(std::string_view command, std::string_view text,
                 const std::vector<std::string>& words = {}) {
  const auto& options = kCommands[command == "receive" ? 0 : 1].options;
  auto arguments = Arguments::parse(options, words);
  arguments.add_file(
      "weir.conf", text,
      SharedFile{.command = command,
                 .commands = kCommands,
                 .check = [](auto, std::string_view option, const std::string& value) {
                   if (option == "jobs" && value == "many")
                     throw Error(ErrorKind::usage, "jobs is a number");
                 }});
  return arguments;
}

constexpr std::string_view kShared =
    "directory = /wal\nslot = weir\nno-loop = on\n[verify]\njobs = 2\njson = on\n"
    "[receive]\nslot = other\nno-loop = off\n";

TEST(SharedFile, GivesEachCommandItsSectionAndWhatAllShare) {
  const auto receive = shared("receive", kShared);
  EXPECT_EQ(receive.names(), (std::vector<std::string>{"directory", "slot"}));
  EXPECT_EQ(receive.value("slot"), "other");
  EXPECT_EQ(receive.source("slot"), "\"slot\" in weir.conf, line 8");
  const auto verify = shared("verify", kShared);
  EXPECT_EQ(verify.names(), (std::vector<std::string>{"directory", "jobs", "json"}));
  EXPECT_EQ(verify.value("jobs"), "2");
  EXPECT_EQ(shared("receive", kShared, {"-S", "mine"}).value("slot"), "mine");
}

TEST(SharedFile, IsRefusedWithTheLineWhicheverCommandReadsIt) {
  const struct {
    const char* name;
    const char* file;
    const char* complaint;
  } cases[] = {
      {"an unknown section", "\n[verfy]",
       "unknown section \"verfy\" (file weir.conf, line 2) | Did you mean [verify]?"},
      {"an open section", "[verify", "section without \"]\""},
      {"a setting of another section", "jobs = 2",
       "unknown setting \"jobs\" (file weir.conf, line 1) | Before the first section are the "
       "options of receive. It belongs under [verify]."},
      {"a setting of the first part", "[verify]\nflush = segment", "It belongs under [receive]."},
      {"a mistyped one", "[verify]\njosb = 2", "Did you mean jobs?"},
      {"a wrong value", "[verify]\n\njobs = many", "jobs is a number (file weir.conf, line 3)"},
      {"twice", "[verify]\njobs = 1\njobs = 2", "more than once"},
      {"a password", "password = secret", "A password belongs into a password file"},
  };
  for (const auto& each : cases)
    for (const auto command : {"receive", "verify"}) {
      SCOPED_TRACE(std::string(each.name) + ", " + command);
      try {
        shared(command, each.file);
        ADD_FAILURE() << "taken";
      } catch (const Error& error) {
        EXPECT_THAT(std::string(error.what()) + " | " + error.hint(), HasSubstr(each.complaint));
        EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
      }
    }
}

}  // namespace
}  // namespace weir::cli
