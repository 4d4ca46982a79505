#include "cli/options/receive_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/combinations.h"
#include "cli/commands.h"

namespace weir::cli::receive_options_test {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

ReceiveRequest parse(std::vector<std::string> words, const std::string& file = "") {
  words.insert(words.begin(), {"-D", "/a"});
  auto arguments = Arguments::parse(kReceiveCommand, words);
  if (const auto path = arguments.text("config")) arguments.add_file(*path, file, commands());
  check_combinations(arguments);
  return read_receive(arguments);
}

std::string complaint(const std::vector<std::string>& words) {
  try {
    static_cast<void>(parse(words));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return std::string(error.what()) + " | " + error.hint();
  }
  return "";
}

TEST(ReceiveOptions, HasSafeDefaults) {
  const auto request = parse({});
  const auto& options = request.options;
  EXPECT_EQ(options.directory, "/a");
  EXPECT_EQ(options.conninfo, "");
  EXPECT_FALSE(options.slot);
  EXPECT_TRUE(options.loop);
  EXPECT_EQ(options.flush.mode, receive::FlushPolicy::Mode::continuous);
  EXPECT_EQ(options.apply, receive::ApplyPosition::flush);
  EXPECT_EQ(options.on_gap, receive::OnGap::stop);
  EXPECT_EQ(options.on_uncompared, receive::OnUncompared::stop);
  EXPECT_EQ(options.on_disk_full, receive::OnDiskFull::wait);
  EXPECT_EQ(options.compression.method, codec::Method::none);
  EXPECT_EQ(options.status_interval, 10s);
  EXPECT_EQ(options.silence_limit, 60s);
  EXPECT_EQ(request.log_level, LogLevel::info);
}

TEST(ReceiveOptions, ReadsEveryOption) {
  const auto request = parse({"-d",
                              "host=db1 user=repl",
                              "-S",
                              "weir",
                              "--create-slot",
                              "--if-not-exists",
                              "--monitor-conninfo",
                              "host=db1 dbname=postgres",
                              "--start",
                              "1/2",
                              "-E",
                              "1/3",
                              "-n",
                              "--on-gap",
                              "continue",
                              "--on-uncompared",
                              "continue",
                              "--on-disk-full",
                              "stop",
                              "--flush",
                              "200ms",
                              "--apply-position",
                              "none",
                              "-Z",
                              "zstd:7",
                              "-s",
                              "5s",
                              "--timeout",
                              "2min",
                              "--log-level",
                              "error",
                              "--log-file",
                              "/l",
                              "-w"});
  const auto& options = request.options;
  EXPECT_EQ(options.conninfo, "host=db1 user=repl");
  EXPECT_EQ(options.slot, "weir");
  EXPECT_TRUE(options.create_slot);
  EXPECT_TRUE(options.if_not_exists);
  EXPECT_EQ(options.monitor_conninfo, "host=db1 dbname=postgres");
  EXPECT_EQ(options.start, wal::Lsn(0x100000002));
  EXPECT_EQ(options.endpos, wal::Lsn(0x100000003));
  EXPECT_FALSE(options.loop);
  EXPECT_EQ(options.on_gap, receive::OnGap::go_on);
  EXPECT_EQ(options.on_uncompared, receive::OnUncompared::go_on);
  EXPECT_EQ(options.on_disk_full, receive::OnDiskFull::stop);
  EXPECT_EQ(options.flush.interval, 200ms);
  EXPECT_EQ(options.apply, receive::ApplyPosition::none);
  EXPECT_EQ(options.compression.method, codec::Method::zstd);
  EXPECT_EQ(options.compression.level, 7);
  EXPECT_EQ(options.status_interval, 5s);
  EXPECT_EQ(options.silence_limit, 2min);
  EXPECT_EQ(request.log_level, LogLevel::error);
  EXPECT_EQ(request.log_file, "/l");
}

TEST(ReceiveOptions, TakesASegmentNameAsStart) {
  const auto request = parse({"--start", "000000010000001600000002"});
  EXPECT_FALSE(request.options.start);
  EXPECT_EQ(request.options.start_segment, wal::SegmentName::parse("000000010000001600000002"));
}

TEST(ReceiveOptions, NotifiesWhereItIsToldToElseWhereItReceivesFrom) {
  EXPECT_FALSE(parse({}).notify);
  const auto here = parse({"-d", "host=db1", "--notify-channel", "Wal Archive"});
  ASSERT_TRUE(here.notify);
  EXPECT_EQ(here.notify->channel, "Wal Archive");
  EXPECT_EQ(pq::conninfo_value(here.notify->conninfo, "host"), "db1");
  EXPECT_EQ(pq::conninfo_value(here.notify->conninfo, "dbname"), "postgres");
  const auto there = parse(
      {"-d", "host=db1", "--notify-channel", "a", "--notify-conninfo", "host=db2 dbname=ops"});
  EXPECT_EQ(pq::conninfo_value(there.notify->conninfo, "host"), "db2");
  EXPECT_EQ(pq::conninfo_value(there.notify->conninfo, "dbname"), "ops");
  EXPECT_TRUE(parse({"--notify-channel", "a", "--notify-conninfo", "host=b password=c"})
                  .password_on_command_line);
}

TEST(ReceiveOptions, RefusesContradictionsAndWrongValues) {
  struct Case {
    const char* name;
    std::vector<std::string> words;
    const char* complaint;
  };
  const Case cases[] = {
      {"no slot to create", {"--create-slot"}, "option --create-slot requires --slot"},
      {"if-not-exists alone",
       {"-S", "a", "--if-not-exists"},
       "option --if-not-exists requires --create-slot"},
      {"monitor alone", {"--monitor-conninfo", "host=a"}, "requires --slot"},
      {"a wrong monitor",
       {"-S", "a", "--monitor-conninfo", "hst=a"},
       "wrong value of --monitor-conninfo: "},
      {"notify nowhere", {"--notify-conninfo", "host=a"}, "requires --notify-channel"},
      {"a wrong place to notify",
       {"--notify-channel", "a", "--notify-conninfo", "hst=a"},
       "wrong value of --notify-conninfo: "},
      {"a long channel",
       {"--notify-channel", std::string(64, 'a')},
       " of --notify-channel: the name of the channel is too long"},
      {"a name no slot has", {"-S", "Weir"}, "wrong value \"Weir\" of --slot: invalid slot name"},
      {"a long slot name", {"-S", std::string(64, 'a')}, "invalid slot name"},
      {"no LSN", {"--endpos", "16"}, "wrong value \"16\" of --endpos"},
      {"LSN 0/0", {"--endpos", "0/0"}, "wrong value \"0/0\" of --endpos"},
      {"a start that is none", {"--start", "00000001000000160000000"}, "of --start"},
      {"an end before the start",
       {"--start", "2/0", "--endpos", "1/0"},
       "--start is not before --endpos"},
      {"status interval 0", {"-s", "0"}, "wrong value \"0\" of --status-interval"},
      {"no unit", {"-s", "10"}, "a time with a unit"},
      {"a short timeout", {"--timeout", "10ms"}, "wrong value \"10ms\" of --timeout"},
      {"flush", {"--flush", "often"}, "wrong value \"often\" of --flush"},
      {"apply", {"--apply-position", "replay"}, "It can be: none, flush."},
      {"gap", {"--on-gap", "go"}, "It can be: stop, continue."},
      {"disk full", {"--on-disk-full", "ignore"}, "It can be: wait, stop."},
      {"a method we do not write", {"--compress", "gzip"}, "receive compresses with zstd only"},
      {"a level that is none", {"--compress", "zstd:23"}, "wrong value \"zstd:23\" of --compress"},
      {"both loud and quiet", {"-v", "-q"}, "only one of"},
      {"level", {"--log-level", "loud"}, "It can be: debug, info, warning, error."},
      {"a wrong conninfo", {"-d", "hst=a"}, "wrong value of --dbname: "},
      {"two hosts",
       {"-d", "host=a", "-h", "b"},
       "the host is given twice, by --dbname and by --host"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_THAT(complaint(each.words), HasSubstr(each.complaint));
  }
}

TEST(ReceiveOptions, NeedsADirectory) {
  EXPECT_THROW(static_cast<void>(read_receive(Arguments::parse(kReceiveCommand, {}))), Error);
}

TEST(ReceiveOptions, NeverShowsAPasswordInAComplaint) {
  for (const auto* conninfo : {"host=a password=geheim port", "password=geheim hst=b",
                               "postgresql://u:geheim@h:x y/", "password='geheim"}) {
    SCOPED_TRACE(conninfo);
    EXPECT_THAT(complaint({"-d", conninfo}), ::testing::Not(HasSubstr("geheim")));
  }
}

TEST(ReceiveOptions, MakesOneConnectionStringOfAll) {
  struct Case {
    const char* name;
    std::vector<std::string> words;
    const char* conninfo;
  };
  const Case cases[] = {
      {"a string alone stays", {"-d", "host=a  user=b"}, "host=a  user=b"},
      {"a name is a database", {"-d", "app"}, "dbname='app'"},
      {"short ones", {"-h", "a", "-p", "5433", "-U", "o'b"}, "host='a' port='5433' user='o\\'b'"},
      {"merged", {"-d", "host=a", "-U", "b"}, "host='a' user='b'"},
      {"a URI merged", {"-d", "postgresql://a/c", "-U", "b"}, "dbname='c' host='a' user='b'"},
      {"the same twice", {"-d", "host=a", "-h", "a"}, "host='a'"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(parse(each.words).options.conninfo, each.conninfo);
  }
}

TEST(ReceiveOptions, LetsTheCommandLineWinOverTheFilesConnection) {
  EXPECT_EQ(parse({"-h", "mine", "-c", "f"}, "dbname = host=theirs user=b").options.conninfo,
            "host='mine' user='b'");
  EXPECT_EQ(parse({"-d", "host=mine", "-c", "f"}, "host = theirs").options.conninfo, "host=mine");
}

TEST(ReceiveOptions, WatchesTheSlotWhereADatabaseIsNamed) {
  struct Case {
    std::vector<std::string> words;
    std::optional<std::string> monitor;
  };
  const Case cases[] = {
      {{"-S", "w", "-d", "host=a dbname=b"}, "host=a dbname=b"},
      {{"-S", "w", "-d", "host=a dbname=replication"}, std::nullopt},
      {{"-S", "w", "-d", "host=a"}, std::nullopt},
      {{"-d", "host=a dbname=b"}, std::nullopt},
  };
  for (const auto& each : cases)
    EXPECT_EQ(parse(each.words).options.monitor_conninfo, each.monitor);
}

TEST(ReceiveOptions, NoticesAPasswordOnTheCommandLineOnly) {
  EXPECT_TRUE(parse({"-d", "password=x"}).password_on_command_line);
  EXPECT_FALSE(parse({"-d", "host=x"}).password_on_command_line);
  EXPECT_FALSE(parse({"-c", "f"}, "dbname = password=x").password_on_command_line);
}

TEST(ReceiveOptions, TakesTheLogLevelOfTheFileUnlessTheCommandLineHasOne) {
  EXPECT_EQ(parse({"-c", "f"}, "log-level = debug").log_level, LogLevel::debug);
  EXPECT_FALSE(parse({"-c", "f"}, "log-level = debug").log_level_fixed);
  EXPECT_EQ(parse({"-c", "f", "-q"}, "log-level = debug").log_level, LogLevel::warning);
  EXPECT_TRUE(parse({"-c", "f", "-q"}, "log-level = debug").log_level_fixed);
}

TEST(ReceiveOptions, NamesTheLineOfAFileForWhatIsWrong) {
  const struct {
    const char* line;
    const char* complaint;
  } cases[] = {
      {"flush = often", "wrong value \"often\" of \"flush\" in f, line 2"},
      {"compress = gzip", "wrong value \"gzip\" of \"compress\" in f, line 2"},
      {"slot = Weir", "wrong value \"Weir\" of \"slot\" in f, line 2: invalid slot name"},
      {"timeout = 1ms", "wrong value \"1ms\" of \"timeout\" in f, line 2"},
      {"monitor-conninfo = hst=a", "wrong value of \"monitor-conninfo\" in f, line 2: "},
      {"metrics-interval = 5s", "\"metrics-interval\" in f, line 2 requires --metrics-file"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.line);
    try {
      static_cast<void>(parse({"-c", "f"}, std::string("\n") + each.line));
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(each.complaint));
    }
  }
}

}  // namespace
}  // namespace weir::cli::receive_options_test
