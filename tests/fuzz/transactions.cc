// The bodies of commit and abort records: their CRC was right, what is in them may be anything.

#include <cstring>

#include "fuzz.h"
#include "wal/transaction_end.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto body = fuzz::bytes(data, size);
  wal::RecordHeader header;
  header.resource_manager = 1;
  header.info = fuzz::take(body);
  header.transaction = 7;
  std::size_t seen = 0;
  wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
    ++seen;
    // Any time there is can be told.
    PGWEIR_CHECK(!end.commit.time.to_string().empty());
    return seen % 2 == 0;
  });
  observer.on_record(wal::Lsn(100), wal::Lsn(200), header, body);
  PGWEIR_CHECK(seen <= 1 && observer.done() == (seen == 1));
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const unsigned operation : {0x00u, 0x20u, 0x30u, 0x40u, 0xb0u, 0xc0u, 0x80u}) {
    test::Bytes data;
    const auto add = [&](auto value) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&value);
      data.insert(data.end(), bytes, bytes + sizeof(value));
    };
    add(std::int64_t{800'000'000'000'000});
    if ((operation & 0x80) != 0) {
      add(std::uint32_t{1 | 2 | 4 | 8 | 16});
      add(std::uint32_t{5});
      add(std::uint32_t{1663});
      add(std::uint32_t{2});
      add(std::uint64_t{0x0000000b0000000a});
      add(std::uint32_t{1});
      add(std::uint64_t{1});
      add(std::uint32_t{2});
      if ((operation & 0x70) == 0x30) {
        add(std::uint32_t{1});
        add(std::uint64_t{1});
        add(std::uint64_t{2});
      }
      add(std::uint32_t{4711});
    }
    test::Bytes input{static_cast<std::byte>(operation), std::byte{255},
                      static_cast<std::byte>(data.size())};
    input.insert(input.end(), data.begin(), data.end());
    inputs.push_back(input);
    test::Bytes with_origin{static_cast<std::byte>(operation),
                            std::byte{253},
                            std::byte{1},
                            std::byte{0},
                            std::byte{252},
                            std::byte{1},
                            std::byte{0},
                            std::byte{0},
                            std::byte{0}};
    with_origin.insert(with_origin.end(), input.begin() + 1, input.end());
    inputs.push_back(with_origin);
  }
  return inputs;
}
