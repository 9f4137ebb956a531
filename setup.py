"""Packaging of vagent. Ranges are pinned below the next release that may break us."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="vagent",
    version="0.1.0",
    description="Link-local service agent for machines that host guests",
    long_description=Path("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            *("vagent", "vagent.*"),
            *("introspect", "introspect.*"),
            *("provision", "provision.*"),
        ]
    ),
    package_data={
        "vagent": ["py.typed", "config/*.xsd"],
        "introspect": ["py.typed", "static/*"],
        "provision": ["py.typed"],
    },
    install_requires=[
        "lxml>=5.0,<7",
        "scapy>=2.5,<3",
        "netfilterqueue>=1.1.0,<2",
        "twisted>=24.7,<27",
        "pyOpenSSL>=24.3,<27",
        "cryptography>=42",
        "httptools>=0.6,<0.10",
        "pycdlib>=1.14,<2",
        "PyYAML>=6.0,<7",
    ],
    extras_require={
        # <service-credentials>: tokens for dynamic vendor data. Of use only where there
        # is a Keystone, and it brings requests and seven more packages.
        "keystone": [
            "keystoneauth1>=5.6,<6",
        ],
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "pytest-cov>=6,<8",
            "hypothesis>=6.130,<7",
            "keystoneauth1>=5.6,<6",
            "prometheus-client>=0.20,<1",
            "pyroute2>=0.9,<0.10",
            "setuptools>=77,<85",
        ],
        "fuzz": [
            "atheris>=2.3,<4",
        ],
        "mutants": [
            "mutmut>=3.8,<3.9",
        ],
        "lint": [
            "ruff>=0.11,<0.18",
            "mypy>=1.15,<3",
            "mypy-zope>=1.0.11,<2",
            "import-linter>=2.1,<3",
        ],
    },
    entry_points={
        "console_scripts": [
            "vagent = vagent.cli:main",
            "vagentctl = vagent.ctl.command_line:main",
            "vagent-libvirt = vagent.guests.process:main",
            "provision_linklocal.py = provision.provision_linklocal:main",
        ]
    },
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
