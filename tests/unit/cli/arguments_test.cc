#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/exit_status.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/options/store_options.h"
#include "cli/password.h"
#include "cli/suggest.h"

namespace weir::cli::arguments_test {
namespace {

using ::testing::HasSubstr;

std::string jobs_of(const std::string& text) {
  if (text == "many") throw Error(ErrorKind::usage, "not a number").hint("Such as 4.");
  return text;
}

constexpr auto kSlot = option_of<any_text>('S', "slot", "NAME", "");
constexpr auto kNoLoop = flag('n', "no-loop", "");
constexpr auto kJobs = option_of<jobs_of>('j', "jobs", "N", "");
constexpr Option kReceiveOptions[] = {
    shared_option(option_of<any_text>('D', "directory", "DIR", "")),
    shared_option(kSlot),
    option_of<any_text>('Z', "compress", "METHOD", ""),
    option_of<any_text>("flush", "WHEN", ""),
    option_of<any_text>("verify-level", "N", ""),
    kNoLoop,
    repeated(option_of<any_text>('o', "option", "NAME", "")),
    connection_string(option_of<jobs_of>("dbname", "CONNINFO", "")),
    for_the_command_line(option_of<any_text>('c', "config", "FILE", "")),
};
constexpr Option kVerifyOptions[] = {
    shared_option(option_of<any_text>('D', "directory", "DIR", "")), kJobs, flag("json", "")};
constexpr OptionGroup kReceiveGroups[] = {{"Options:", kReceiveOptions}};
constexpr OptionGroup kVerifyGroups[] = {{"Options:", kVerifyOptions}};
constexpr Command kReceive = {
    .name = "receive", .summary = {}, .about = {}, .groups = kReceiveGroups};
constexpr Command kVerify = {.name = "verify", .summary = {}, .about = {}, .groups = kVerifyGroups};
constexpr const Command* kTable[] = {&kReceive, &kVerify};

std::string complaint(const std::vector<std::string>& words, std::string_view file = "") {
  try {
    auto arguments = Arguments::parse(kReceive, words);
    if (!file.empty()) arguments.add_file("weir.conf", file, kTable);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return std::string(error.what()) + " | " + error.hint();
  }
  return "";
}

/// With a file that all commands share.
Arguments shared(std::string_view command, std::string_view text, const Words& words = {}) {
  auto arguments = Arguments::parse(command == "receive" ? kReceive : kVerify, words);
  arguments.add_file("weir.conf", text, kTable);
  return arguments;
}

TEST(Arguments, TakeAnOptionThatMayBeRepeatedFromSeveralLinesOfOnePart) {
  EXPECT_EQ(shared("receive", "option = a\nslot = x\noption = b\n").texts("option"),
            (std::vector<std::string>{"a", "b"}));
  // A section's lines come in the place of those before it, and the command line wins over all.
  EXPECT_EQ(shared("receive", "option = a\n[receive]\noption = b\noption = c\n").texts("option"),
            (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(shared("receive", "option = a\noption = b\n", {"-o", "c"}).texts("option"),
            std::vector<std::string>{"c"});
  EXPECT_THAT(complaint({}, "slot = a\nslot = b\n"), HasSubstr("more than once"));
}

TEST(Arguments, ReadsAllWaysToWriteAnOption) {
  const std::vector<std::vector<std::string>> ways = {
      {"--slot", "weir"}, {"--slot=weir"}, {"-S", "weir"}, {"-Sweir"}, {"-n", "-S", "weir"}};
  for (const auto& words : ways) {
    SCOPED_TRACE(words.front());
    const auto arguments = Arguments::parse(kReceive, words);
    EXPECT_EQ(arguments.text("slot"), "weir");
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
      {"a wrong value", {"--dbname", "many"}, "wrong value of --dbname: not a number | Such as 4."},
      {"a stray password", {"password=secret"}, "unexpected argument \"password=******\""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_THAT(complaint(each.words), HasSubstr(each.complaint));
  }
}

TEST(Arguments, LetsTheCommandLineWinOverTheFile) {
  auto arguments = Arguments::parse(kReceive, {"-S", "mine"});
  arguments.add_file("weir.conf",
                     "# a comment\n\n  slot = theirs\r\ncompress=zstd:3\n; another\nno-loop = on\n",
                     kTable);
  EXPECT_EQ(arguments.text("slot"), "mine");
  EXPECT_EQ(arguments.text("compress"), "zstd:3");
  EXPECT_TRUE(arguments.has("no-loop"));
  EXPECT_EQ(arguments.source("slot"), "--slot");
  EXPECT_EQ(arguments.source("compress"), "\"compress\" in weir.conf, line 4");
}

/// Of `command`, with variables and then a file.
Arguments surrounded(std::string_view command, const std::vector<std::string>& variables,
                     std::string_view file = "", const Words& words = {}) {
  auto arguments = Arguments::parse(command == "receive" ? kReceive : kVerify, words);
  arguments.add_environment(variables, kTable);
  arguments.add_file("weir.conf", file, kTable);
  return arguments;
}

TEST(Arguments, LetsTheCommandLineWinOverTheEnvironmentAndThatOverTheFile) {
  const auto arguments = surrounded(
      "receive",
      {"PGWEIR_RECEIVE_SLOT=theirs", "PGWEIR_RECEIVE_COMPRESS=zstd:3",
       "PGWEIR_RECEIVE_OPTION=", "PGWEIR_VERIFY_JOBS=many", "PATH=/bin", "PGWEIR_SEED=7"},
      "compress = lz4\nflush = 1s\noption = of the file\n", {"-S", "mine"});
  EXPECT_EQ(arguments.text("slot"), "mine");
  EXPECT_EQ(arguments.origin("slot"), Arguments::Origin::command_line);
  EXPECT_EQ(arguments.text("compress"), "zstd:3");
  EXPECT_EQ(arguments.origin("compress"), Arguments::Origin::environment);
  EXPECT_EQ(arguments.source("compress"), "PGWEIR_RECEIVE_COMPRESS");
  EXPECT_EQ(arguments.text("flush"), "1s");
  EXPECT_EQ(arguments.origin("flush"), Arguments::Origin::file);
  EXPECT_EQ(arguments.text("option"), "of the file");
  const auto kept = arguments.without_file();
  EXPECT_TRUE(kept.has("compress"));
  EXPECT_FALSE(kept.has("flush"));
}

TEST(Arguments, ReadsSwitchesAndListsOfTheEnvironment) {
  EXPECT_TRUE(surrounded("receive", {"PGWEIR_RECEIVE_NO_LOOP=on"}).has("no-loop"));
  EXPECT_FALSE(
      surrounded("receive", {"PGWEIR_RECEIVE_NO_LOOP=off"}, "no-loop = on").has("no-loop"));
  EXPECT_FALSE(surrounded("receive", {"PGWEIR_RECEIVE_NO_LOOP=off"}, "[receive]\nno-loop = on")
                   .has("no-loop"));
  EXPECT_TRUE(
      surrounded("receive", {"PGWEIR_RECEIVE_NO_LOOP=off"}, "", {"--no-loop"}).has("no-loop"));
  EXPECT_EQ(surrounded("receive", {"PGWEIR_RECEIVE_OPTION=a\nb\n"}, "option = c").texts("option"),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(surrounded("receive", {"PGWEIR_RECEIVE_OPTION=\n\n"}, "option = c").text("option"),
            "c");
  EXPECT_FALSE(surrounded("receive", {"PGWEIR_RECEIVE_OPTION=\n"}).has("option"));
}

TEST(Arguments, GiveOtherCommandsWhatTheyShareWithReceive) {
  const std::vector<std::string> receive = {"PGWEIR_RECEIVE_DIRECTORY=/srv/wal",
                                            "PGWEIR_RECEIVE_SLOT=archive"};
  const auto shares = surrounded("verify", receive, "[verify]\ndirectory = /other\njobs = 2\n");
  EXPECT_EQ(shares.text("directory"), "/srv/wal");
  EXPECT_EQ(shares.text("jobs"), "2");
  EXPECT_FALSE(shares.has("slot"));
  auto both = receive;
  both.emplace_back("PGWEIR_VERIFY_DIRECTORY=/own");
  EXPECT_EQ(surrounded("verify", both).text("directory"), "/own");
}

TEST(Arguments, RefusesWhatIsWrongInTheEnvironment) {
  struct Case {
    const char* variable;
    const char* complaint;
  };
  const Case cases[] = {
      {"PGWEIR_RECEIVE_SLTO=x",
       "unknown variable PGWEIR_RECEIVE_SLTO in the environment | Did you mean "
       "PGWEIR_RECEIVE_SLOT?"},
      {"PGWEIR_RECEIVE_CONFIG=x", "--config is for the command line only"},
      {"PGWEIR_RECEIVE_NO_LOOP=perhaps", "wrong value \"perhaps\" of PGWEIR_RECEIVE_NO_LOOP"},
      {"PGWEIR_RECEIVE_DBNAME=many", "wrong value of PGWEIR_RECEIVE_DBNAME: not a number"},
      {"PGWEIR_RECEIVE_DBNAME=host=a password=secret", "PGWEIR_RECEIVE_DBNAME has a password"},
      {"PGWEIR_RECEIVE_DBNAME=postgresql://u:secret@a/", "PGWEIR_RECEIVE_DBNAME has a password"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.variable);
    std::string told;
    try {
      surrounded("verify", {each.variable});
    } catch (const Error& error) {
      told = std::string(error.what()) + " | " + error.hint();
    }
    EXPECT_THAT(told, HasSubstr(each.complaint));
    EXPECT_THAT(told, ::testing::Not(HasSubstr("secret")));
  }
}

TEST(Arguments, RefusesAnOptionUnderTheNameOfNoCommand) {
  struct Case {
    const char* variable;
    const char* complaint;
  };
  const Case cases[] = {
      {"PGWEIR_SLOT=x",
       "unknown variable PGWEIR_SLOT in the environment | Did you mean PGWEIR_RECEIVE_SLOT?"},
      {"PGWEIR_RECIEVE_NO_LOOP=on", "Did you mean PGWEIR_RECEIVE_NO_LOOP?"},
      {"PGWEIR_RECEIVER_SLOT=x", "Did you mean PGWEIR_RECEIVE_SLOT?"},
      {"PGWEIR_VERIFY_LEVEL=x", "Did you mean PGWEIR_RECEIVE_VERIFY_LEVEL?"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.variable);
    std::string told;
    try {
      surrounded("receive", {each.variable}).refuse_strays({each.variable}, kTable);
    } catch (const Error& error) {
      told = std::string(error.what()) + " | " + error.hint();
    }
    EXPECT_THAT(told, HasSubstr(each.complaint));
  }
}

TEST(Arguments, FailNoRecoveryByAVariableThatMayBeAScripts) {
  std::vector<std::string> refuse;
  for (const auto* command : commands())
    if (command->refuses_strays) refuse.emplace_back(command->name);
  EXPECT_THAT(refuse, ::testing::UnorderedElementsAre("receive", "serve", "web"));
  auto restore = Arguments::parse(*find_command("restore"), {});
  restore.add_environment({"PGWEIR_DIRECTORY=/srv", "PGWEIR_RECIEVE_SLOT=x"}, commands());
  EXPECT_TRUE(restore.names().empty());
}

TEST(Arguments, PassesByNamesThatMeanNoOption) {
  for (const auto* variable :
       {"PGWEIR_SEED=7", "PGWEIR_PID=7", "PGWEIR_SLOT=", "PGWEIR_=x", "PGWEIR_ALL_SLOTS=x",
        "PGWEIR_OTHERS_SLOT=x", "PGWEIR_FLUSH=tcp://10.0.0.1:80", "PGWEIR_SLOTT=x"}) {
    SCOPED_TRACE(variable);
    const auto arguments = surrounded("receive", {variable});
    EXPECT_TRUE(arguments.names().empty());
    EXPECT_NO_THROW(arguments.refuse_strays({variable}, kTable));
  }
}

TEST(Arguments, PassesByWhatKubernetesSaysOfServices) {
  const auto arguments = surrounded(
      "receive",
      {"PGWEIR_RECEIVE_PORT=tcp://10.0.0.1:5432", "PGWEIR_RECEIVE_SERVICE_HOST=10.0.0.1",
       "PGWEIR_RECEIVE_SERVICE_PORT=5432", "PGWEIR_RECEIVE_SERVICE_PORT_RELAY=5432",
       "PGWEIR_RECEIVE_PORT_5432_TCP=tcp://10.0.0.1:5432", "PGWEIR_RECEIVE_PORT_5432_TCP_PROTO=tcp",
       "PGWEIR_RECEIVE_PORT_5432_TCP_ADDR=10.0.0.1"});
  EXPECT_TRUE(arguments.names().empty());
}

TEST(Arguments, LeavesOutASwitchThatIsOff) {
  auto arguments = Arguments::parse(kReceive, {});
  arguments.add_file("weir.conf", "no-loop = off", kTable);
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
      {"no equals sign", "slot weir", "line without \"=\": \"slot weir\""},
      {"a password in it", "postgres://u:secret@h", "\"postgres://u:******@h\""},
      {"a password file", "*:*:*:repl:secret", "not of a configuration (file weir.conf, line 1)"},
      {"no value", "slot =", "setting \"slot\" has no value"},
      {"twice", "slot = a\n\nslot = b", "more than once (file weir.conf, line 3, first in line 1)"},
      {"a directory in quotes", "directory = \"/srv/my wal\"",
       "quoted value of the setting \"directory\": \"/srv/my wal\" (file weir.conf, line 1) | "
       "Remove the quotes"},
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
      {"oauth_client_id=a oauth_client_secret='ge heim' host=b",
       "oauth_client_id=a oauth_client_secret='*******' host=b"},
      {"scram_client_key=geheim password=x scram_server_key = geheim",
       "scram_client_key=****** password=* scram_server_key = ******"},
      {"postgresql://h/d?oauth_client_secret=geheim&x=y",
       "postgresql://h/d?oauth_client_secret=******&x=y"},
      {"--dbname=host=a password=x", "--dbname=host=a password=*"},
      {"postgresql://u:geheim@h/d", "postgresql://u:******@h/d"},
      {"postgresql://u:ge?heim@h/d", "postgresql://u:*******@h/d"},
      {"postgresql://u:geheim?@h?sslmode=allow", "postgresql://u:*******@h?sslmode=allow"},
      {"postgres://u@h/d?password=geheim&x=y", "postgres://u@h/d?password=******&x=y"},
      {"postgresql://h:5432/d", "postgresql://h:5432/d"},
      {"postgresql://h:5432?user=u", "postgresql://h:5432?user=u"},
      {"http://u:geheim@proxy:3128", "http://u:******@proxy:3128"},
      {"--store-endpoint=https://u:geheim@h/p", "--store-endpoint=https://u:******@h/p"},
      {"https://h:9000/a:b@c", "https://h:9000/a:b@c"},
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

TEST(Arguments, KeepsAllOfAnOptionThatMayBeRepeated) {
  const auto arguments = Arguments::parse(kReceive, {"-o", "a", "--option=b", "-oc"});
  EXPECT_EQ(arguments.texts("option"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_THAT(complaint({"-o"}), HasSubstr("needs a value"));
}

TEST(Arguments, ForgetsTheFile) {
  const auto both = shared("receive", "slot = weir\n", {"-n"});
  const auto words = both.without_file();
  EXPECT_TRUE(words.has(kNoLoop));
  EXPECT_FALSE(words.has(kSlot));
}

TEST(Arguments, GiveWhatTheOptionReads) {
  const auto arguments = Arguments::parse(kVerify, {"-j", "3"});
  EXPECT_EQ(arguments.get(kJobs), "3");
  EXPECT_EQ(arguments.get(kSlot), std::nullopt);
  EXPECT_EQ(arguments.get(kSlot, "other"), "other");
}

// --- What options take

TEST(Values, AreReadOrRefusedWithAReason) {
  const struct {
    const char* name;
    std::function<void(const std::string&)> read;
    std::vector<std::string> right;
    std::vector<std::string> wrong;
    const char* reason;
  } cases[] = {
      {"a time", time_value<100, kDay>, {"100ms", "10s", "24h"}, {"10", "s", "-1s"}, "a unit"},
      {"its bounds", time_value<100, kDay>, {}, {"99ms", "25h", "0"}, "from 100 ms to 1 d"},
      {"any time", time_value<>, {"0", "36500d"}, {"36501d", "999999d"}, "to 36500 d"},
      {"any time above 0", time_value<1>, {"1ms"}, {"0"}, "1 ms or longer"},
      {"a retention", keep_local_value, {"64GB", "36500d"}, {"0", "7"}, "a size nor a time"},
      {"its longest", keep_local_value, {}, {"999999d"}, "from 1 ms to 36500 d"},
      {"a number", count_value<1, 64>, {"1", "64"}, {"0", "65", "x", "", "1x"}, "from 1 to 64"},
      {"an open one", count_value<1>, {"18446744073709551615"}, {"0"}, "from 1 on"},
      {"threads", jobs_value, {"1", "1024"}, {"0", "1025", "many"}, "all processors"},
      {"a size", size_value, {"0", "64MB"}, {"64", "MB"}, "64MB"},
      {"some size", some_size_value, {"1kB"}, {"0"}, "larger than 0"},
      {"an LSN", lsn_value, {"0/0", "16/B374D848"}, {"16", "x/y"}, "16/B374D848"},
      {"a position", valid_lsn_value, {"1/0"}, {"0/0"}, "not a position"},
      {"a timeline", timeline_value, {"1", "4294967295"}, {"0", "4294967296", "x"}, "from 1"},
      {"a slot", slot_value, {"a_1"}, {"Weir", "a-b", std::string(64, 'a')}, "lower-case"},
      {"a connection", conninfo_value, {"host=a"}, {"hst=a"}, "hst"},
      {"a database", database_value, {"app", "host=a"}, {"hst=a"}, "hst"},
      {"metrics", metrics_file_value, {"a.prom"}, {"a.txt"}, "node_exporter"},
      {"a position or segment",
       [](const std::string& text) { static_cast<void>(position_value(text)); },
       {"1/0", "000000010000001600000002.zst"},
       {"00000001000000160000000"},
       "nor a segment's name"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    for (const auto& text : each.right) EXPECT_NO_THROW(each.read(text)) << text;
    for (const auto& text : each.wrong) {
      try {
        each.read(text);
        ADD_FAILURE() << text;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        EXPECT_THAT(std::string(error.what()) + " | " + error.hint(), HasSubstr(each.reason));
      }
    }
  }
}

// --- A file that all commands share

constexpr std::string_view kShared =
    "directory = /wal\nslot = weir\nno-loop = on\n[verify]\njobs = 2\njson = on\n"
    "[receive]\nslot = other\nno-loop = off\n";

TEST(SharedFile, GivesEachCommandItsSectionAndWhatAllShare) {
  const auto receive = shared("receive", kShared);
  EXPECT_EQ(receive.names(), (std::vector<std::string>{"directory", "slot"}));
  EXPECT_EQ(receive.text("slot"), "other");
  EXPECT_EQ(receive.source("slot"), "\"slot\" in weir.conf, line 8");
  const auto verify = shared("verify", kShared);
  EXPECT_EQ(verify.names(), (std::vector<std::string>{"directory", "jobs", "json"}));
  EXPECT_EQ(verify.text("jobs"), "2");
  EXPECT_EQ(shared("receive", kShared, {"-S", "mine"}).text("slot"), "mine");
}

TEST(SharedFile, HasOptionsOfOtherCommandsInTheSectionOfTheStore) {
  static constexpr Option kConfirm[] = {
      option_of<any_text>("confirm", "WHEN", "").of_section("store")};
  static constexpr Option kPlace[] = {option_of<any_text>("store", "URL", "").of_section("store")};
  static constexpr OptionGroup kOfReceive[] = {{"", kConfirm}, {"", kPlace}};
  static constexpr OptionGroup kOfStore[] = {{"", kPlace}};
  constexpr Command kSends = {.name = "receive", .summary = {}, .about = {}, .groups = kOfReceive};
  constexpr Command kStore = {.name = "store", .summary = {}, .about = {}, .groups = kOfStore};
  const Command* const table[] = {&kSends, &kStore};
  const auto read = [&](const Command& command, const Words& words = {}) {
    auto arguments = Arguments::parse(command, words);
    arguments.add_file("weir.conf", "[store]\nstore = s3://bucket\nconfirm = stored\n", table);
    return arguments;
  };
  EXPECT_EQ(read(kSends).text("confirm"), "stored");
  EXPECT_EQ(read(kSends, {"--confirm", "local"}).text("confirm"), "local");
  EXPECT_EQ(read(kStore).names(), std::vector<std::string>{"store"});
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
       "unknown setting \"jobs\" (file weir.conf, line 1) | The options before the first "
       "section are those of receive. It belongs under [verify]."},
      {"a setting of the first part", "[verify]\nflush = segment", "It belongs under [receive]."},
      {"a mistyped one", "[verify]\njosb = 2", "Did you mean jobs?"},
      {"a wrong value", "[verify]\n\njobs = many",
       "wrong value \"many\" of \"jobs\" in weir.conf, line 3: not a number | Such as 4."},
      {"a wrong value that is not shown", "dbname = many",
       "wrong value of \"dbname\" in weir.conf, line 1"},
      {"twice", "[verify]\njobs = 1\njobs = 2", "more than once"},
      {"a password", "password = secret", "Use a password file instead"},
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
}  // namespace weir::cli::arguments_test
