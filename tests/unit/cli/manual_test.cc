#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/stock/stand_ins.h"

namespace weir::cli::manual_test {
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
  std::string manual;
  std::string help;
};

/// Of every command and every program that pgweir stands in for.
std::vector<Page> pages() {
  std::vector<Page> pages = {{"pgweir.1", general_help()}};
  for (const auto* command : commands())
    if (command->help == nullptr)
      pages.push_back({fmt::format("pgweir-{}.1", command->name), full_help_of(*command)});
  for (const auto& stand_in : stand_ins())
    pages.push_back({fmt::format("pgweir-{}.1", stand_in.name), std::string(stand_in.help())});
  return pages;
}

TEST(Manual, HasTheOptionsThatTheHelpHas) {
  for (const auto& page : pages()) {
    SCOPED_TRACE(page.manual);
    auto by_help = long_options(std::string(page.help));
    // The general help begins with examples of receive, whose options are told on its own page.
    if (page.help == general_help()) by_help = {"config", "help", "version"};
    EXPECT_EQ(long_options(manual(page.manual)), by_help);
  }
}

TEST(Help, TellsEveryOptionWithItsLetterAndValue) {
  for (const auto* command : commands()) {
    if (command->help != nullptr) continue;
    SCOPED_TRACE(command->name);
    const auto help = full_help_of(*command);
    std::set<std::string> known;
    for (const auto& option : command->options()) {
      EXPECT_TRUE(known.emplace(option.name).second) << option.name;
      EXPECT_TRUE(option.takes_value() == (option.check != nullptr)) << option.name;
      auto line = option.letter == '\0' ? fmt::format("\n      --{}", option.name)
                                        : fmt::format("\n  -{}, --{}", option.letter, option.name);
      if (option.takes_value()) line += fmt::format(" {}", option.value);
      EXPECT_NE(help.find(line), std::string::npos) << line;
    }
  }
}

TEST(Help, IsShortAndListsTheTopicsOfACommandWithMany) {
  const auto* receive = find_command("receive");
  ASSERT_NE(receive, nullptr);
  const auto text = help_of(*receive);
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 110);
  std::size_t topics = 0;
  for (const auto* command : commands())
    for (const auto& group : command->groups) {
      if (group.topic == nullptr) continue;
      ++topics;
      EXPECT_NE(help_of(*command).find(fmt::format("\n  {} ", group.topic->name)),
                std::string::npos)
          << command->name << " " << group.topic->name;
      for (const auto& option : group.options)
        EXPECT_EQ(help_of(*command).find(fmt::format("\n      --{} ", option.name)),
                  std::string::npos)
            << command->name << " " << option.name;
    }
  EXPECT_GT(topics, 12u);
}

TEST(Help, ListsEveryCommand) {
  for (const auto* command : commands())
    EXPECT_NE(general_help().find(fmt::format("\n  {:<9} {}\n", command->name, command->summary)),
              std::string::npos);
}

TEST(Help, FitsA80ColumnTerminal) {
  auto all = pages();
  for (const auto* command : commands()) all.push_back({"", help_of(*command)});
  for (const auto& page : all) {
    std::istringstream text{std::string(page.help)};
    for (std::string line; std::getline(text, line);) {
      EXPECT_LE(line.size(), 80u) << line;
      EXPECT_EQ(line.find("::"), std::string::npos) << "a name of the program's own: " << line;
    }
  }
}

}  // namespace
}  // namespace weir::cli::manual_test
