#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "cli/help.h"
#include "cli/logical_options.h"
#include "cli/receive_options.h"

namespace weir::cli {
namespace {

std::set<std::string> long_options(const std::string& text) {
  static const std::regex pattern("--([a-z][a-z-]*)");
  std::set<std::string> names;
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
    names.insert((*at)[1]);
  return names;
}

std::string manual(const std::string& name) {
  std::ifstream file(std::string(PGWEIR_MANUAL) + "/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  std::stringstream text;
  text << file.rdbuf();
  // roff writes a dash that is to be typed as "\-".
  return std::regex_replace(text.str(), std::regex(R"(\\-)"), "-");
}

struct Page {
  const char* manual;
  std::string_view help;
};
const Page kPages[] = {
    {"pgweir.1", general_help()},         {"pgweir-receive.1", receive_help()},
    {"pgweir-slot.1", slot_help()},       {"pgweir-status.1", status_help()},
    {"pgweir-config.1", config_help()},   {"pgweir-verify.1", verify_help()},
    {"pgweir-prune.1", prune_help()},     {"pgweir-compress.1", compress_help()},
    {"pgweir-restore.1", restore_help()}, {"pgweir-pg_receivewal.1", pg_receivewal_help()},
    {"pgweir-listen.1", listen_help()},   {"pgweir-notify.1", notify_help()},
    {"pgweir-logical.1", logical_help()},
    {"pgweir-pg_recvlogical.1", pg_recvlogical_help()},
};

TEST(Manual, HasTheOptionsThatTheHelpHas) {
  for (const auto& page : kPages) {
    SCOPED_TRACE(page.manual);
    auto by_help = long_options(std::string(page.help));
    // The general help begins with examples of receive, whose options are told on its own page.
    if (page.help == general_help()) by_help = {"config", "help", "version"};
    EXPECT_EQ(long_options(manual(page.manual)), by_help);
  }
}

TEST(Help, TellsEveryOptionOfReceiveAndNoOther) {
  std::set<std::string> known;
  for (const auto& option : receive_option_list()) known.emplace(option.name);
  EXPECT_EQ(long_options(std::string(receive_help())), known);
}

TEST(Help, TellsEveryOptionOfLogicalAndNoOther) {
  std::set<std::string> known = {"option"};
  for (const auto& option : logical_option_list()) known.emplace(option.name);
  EXPECT_EQ(long_options(std::string(logical_help())), known);
}

TEST(Help, TellsTheLettersOfReceive) {
  const std::string help(receive_help());
  for (const auto& option : receive_option_list()) {
    if (option.letter == '\0') continue;
    const auto both = std::string("-") + option.letter + ", --" + std::string(option.name);
    EXPECT_NE(help.find(both), std::string::npos) << both;
  }
}

TEST(Help, FitsA80ColumnTerminal) {
  for (const auto& page : kPages) {
    std::istringstream text{std::string(page.help)};
    for (std::string line; std::getline(text, line);) EXPECT_LE(line.size(), 80u) << line;
  }
}

}  // namespace
}  // namespace weir::cli
